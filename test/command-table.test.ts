import { describe, expect, it } from 'vitest';
import { lengthPrefixed } from '../src/framing.js';
import { makeReplyFramer } from '../src/reply-framer.js';
import { CommandTable } from '../src/transport/native/command-table.js';
import {
  commandFields,
  entriesPerTable,
  fieldsPerEntry,
  slabBytes,
} from '../src/transport/native/crossing.js';

const target = { processor: 0, slot: 3, generation: 1 };
const framer = makeReplyFramer(lengthPrefixed(), true);

/** Answers requests of one connection with a byte each; what they become, in one call. */
function answer(sequences: number[]): { sequence: number; settles: number; length: number }[] {
  const table = new Uint32Array(entriesPerTable * fieldsPerEntry);
  let submitted = 0;
  const native = {
    submit: (count: number) => {
      submitted += count;
    },
  };
  const commands = new CommandTable(native, table, new Uint8Array(slabBytes));
  for (const sequence of sequences) {
    commands.frame(target, framer, Buffer.from('a'), sequence);
    commands.settle(target, sequence, 1, null, 0);
  }
  commands.flush();
  return Array.from({ length: submitted }, (_, i) => {
    const entry = table.subarray(i * fieldsPerEntry, (i + 1) * fieldsPerEntry);
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
