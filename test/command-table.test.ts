import { describe, expect, it } from 'vitest';
import { lengthPrefixed } from '../src/framing.js';
import { makeReplyFramer } from '../src/reply-framer.js';
import { CommandTable } from '../src/transport/native/command-table.js';
import {
  answerFields,
  commandFields,
  commandFlags,
  fieldsPerAnswer,
  fieldsPerEntry,
} from '../src/transport/native/crossing.js';
import { makeTables } from '../src/transport/native/native-side.js';

const target = { processor: 0, slot: 3, generation: 1 };
const framer = makeReplyFramer(lengthPrefixed(), true);

/** Answers requests of one connection with a byte each; what they become, in one call. */
function answer(sequences: number[]): { sequence: number; settles: number; length: number }[] {
  const tables = makeTables();
  let submitted = 0;
  const native = {
    submit: (count: number) => {
      submitted += count;
    },
  };
  const commands = new CommandTable(native, tables);
  for (const sequence of sequences) {
    commands.frame(target, framer, Buffer.from('a'), sequence);
    commands.settle(target, sequence, 1, null, 0);
  }
  commands.flush();
  return Array.from({ length: submitted }, (_, i) => {
    const entry = tables.commands.subarray(i * fieldsPerEntry, (i + 1) * fieldsPerEntry);
    return {
      sequence: entry[commandFields.sequence] as number,
      settles: entry[commandFields.settles] as number,
      length: entry[commandFields.length] as number,
    };
  });
}

describe('replies that cross to the core together', () => {
  it('are one entry where one follows the other', () => {
    expect(answer([7, 8, 9])).toEqual([{ sequence: 7, settles: 3, length: 15 }]);
    expect(answer([0xffffffff, 0])).toEqual([{ sequence: 0xffffffff, settles: 2, length: 10 }]);
  });

  // Threads that share a connection answer every other request, and the core puts them in order.
  it('have entries of their own where others stand between them', () => {
    expect(answer([7, 9, 10])).toEqual([
      { sequence: 7, settles: 1, length: 5 },
      { sequence: 9, settles: 2, length: 10 },
    ]);
    expect(answer([9, 7])).toEqual([
      { sequence: 9, settles: 1, length: 5 },
      { sequence: 7, settles: 1, length: 5 },
    ]);
  });
});

/** What stands beside the commands when they cross: how many answers, received and given when. */
class Crossing {
  readonly #tables = makeTables();
  readonly answers: number[][] = [];
  readonly commands = new CommandTable(
    {
      submit: (count: number) => {
        for (let i = 0; i < count; i++) {
          const at = i * fieldsPerAnswer;
          const { count: many, received, given } = answerFields;
          const fields = this.#tables.answers.slice(at, at + fieldsPerAnswer);
          const times = (fields[many] as number) > 0 ? [fields[received], fields[given]] : [];
          this.answers.push([fields[many] as number, ...(times as number[])]);
        }
      },
    },
    this.#tables,
  );

  reply(sequence: number, received: number, given: number | null = null, to = target): void {
    const times = { receivedAt: received, readyAt: given };
    if (given !== null) this.commands.separate();
    this.commands.frame(to, framer, Buffer.from('a'), sequence);
    this.commands.settle(to, sequence, 1, null, 0, times);
  }
}

describe('the times of answers that cross to the core', () => {
  it('stand once beside those that were received together', () => {
    const table = new Crossing();
    for (const sequence of [1, 2]) table.reply(sequence, 10);
    table.commands.givenAt(15);
    table.reply(3, 11);
    table.commands.givenAt(15);
    table.commands.flush();
    expect(table.answers).toEqual([
      [2, 10, 15],
      [1, 11, 15],
    ]);
  });

  it('are those of the moment at which they were given', () => {
    const table = new Crossing();
    table.reply(1, 10);
    table.commands.givenAt(15);
    table.reply(2, 10);
    // This one had waited for its turn.
    table.reply(3, 10, 12);
    table.commands.givenAt(16);
    table.commands.flush();
    expect(table.answers).toEqual([
      [1, 10, 15],
      [1, 10, 16],
      [1, 10, 12],
    ]);
  });

  it('are those of the crossing where nobody has said otherwise', () => {
    const table = new Crossing();
    const before = performance.now();
    table.reply(1, 10);
    table.commands.flush();
    const [[count, , given] = []] = table.answers;
    expect(count).toBe(1);
    expect(given).toBeGreaterThanOrEqual(before);
    expect(given).toBeLessThanOrEqual(performance.now());
  });

  it('are none beside what answers nothing', () => {
    const table = new Crossing();
    table.reply(1, 10);
    table.commands.settle(target, 2, 1, 'CLOSED_BY_HANDLER', commandFlags.discarded);
    table.commands.accept(target);
    table.commands.givenAt(15);
    table.commands.flush();
    table.commands.close(target, 'CLOSED_BY_SERVICE');
    table.commands.flush();
    expect(table.answers).toEqual([[1, 10, 15], [0], [0], [0]]);
  });
});
