import { appendFile, open, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Reader, readRecordsBatches } from '@platformatic/kafka';
import { describe, expect, onTestFinished, test } from 'vitest';
import { KafkaError } from '../../examples/kafka-broker/errors.js';
import { checkProduced } from '../../examples/kafka-broker/log/batch.js';
import { Log } from '../../examples/kafka-broker/log/log.js';
import { type BatchOptions, batchOf, temporaryFolder } from './support.js';

const noLimit = 2 ** 30;

interface OpenedLog {
  readonly log: Log;
  readonly lines: string[];
}

async function openLog(folder: string, segmentBytes = noLimit): Promise<OpenedLog> {
  const lines: string[] = [];
  const log = await Log.open(folder, { segmentBytes, report: (line) => lines.push(line) });
  onTestFinished(() => log.close());
  return { log, lines };
}

async function append(
  log: Log,
  values: (string | Buffer)[],
  options?: BatchOptions,
): Promise<number> {
  const batch = batchOf(values, options);
  return log.append(batch, checkProduced(batch, noLimit));
}

async function readFrom(log: Log, offset: number, maxBytes = noLimit, atLeastOne = true) {
  return readRecordsBatches(
    Reader.from(await log.read(await log.find(offset), maxBytes, atLeastOne)),
  );
}

async function valuesFrom(log: Log, offset: number): Promise<string[]> {
  const values: string[] = [];
  let next = offset;
  while (next < log.endOffset) {
    for (const batch of await readFrom(log, next)) {
      for (const record of batch.records) {
        if (Number(batch.firstOffset) + record.offsetDelta >= offset) {
          values.push(record.value.toString());
        }
      }
      next = Number(batch.firstOffset) + batch.lastOffsetDelta + 1;
    }
  }
  return values;
}

const names = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `value ${String(from + i).padStart(5, '0')}`);

describe('appending and reading', () => {
  test('offsets follow on each other and survive reopening', async () => {
    const folder = await temporaryFolder();
    const { log } = await openLog(folder);
    expect(await append(log, names(0, 3))).toBe(0);
    expect(await append(log, names(3, 4))).toBe(3);
    expect(await append(log, names(4, 9))).toBe(4);
    expect(log.endOffset).toBe(9);
    expect(await valuesFrom(log, 0)).toEqual(names(0, 9));
    await log.close();

    const { log: again, lines } = await openLog(folder);
    expect(again.endOffset).toBe(9);
    expect(await append(again, names(9, 10))).toBe(9);
    expect(await valuesFrom(again, 5)).toEqual(names(5, 10));
    expect(lines).toEqual([]);
  });

  test('batches appended at once get their offsets in the order of the calls', async () => {
    const { log } = await openLog(await temporaryFolder(), 20_000);
    const offsets = await Promise.all(names(0, 1500).map((name) => append(log, [name])));
    expect(offsets).toEqual(Array.from({ length: 1500 }, (_, i) => i));
    expect(log.segmentCount).toBeGreaterThan(3);
    expect(await valuesFrom(log, 0)).toEqual(names(0, 1500));
  });

  test('every offset is found, whatever segment and index entry it is behind', async () => {
    const folder = await temporaryFolder();
    const { log } = await openLog(folder, 40_000);
    for (let i = 0; i < 3000; i += 3) await append(log, names(i, i + 3));
    const segments = (await readdir(folder)).length;
    expect(segments).toBeGreaterThan(2);
    for (const log2 of [log, (await openLog(folder, 40_000)).log]) {
      for (let offset = 0; offset < 3000; offset += 7) {
        const [first] = await readFrom(log2, offset, 1);
        expect(Number(first?.firstOffset)).toBe(offset - (offset % 3));
      }
    }
  });

  test('a read stops at its limit, at a whole batch, but gives a first one that is larger', async () => {
    const { log } = await openLog(await temporaryFolder());
    for (let i = 0; i < 4; i++) await append(log, [Buffer.alloc(1000, i)]);
    const size = log.endByte / 4;
    const count = async (maxBytes: number, atLeastOne: boolean) =>
      (await readFrom(log, 0, maxBytes, atLeastOne)).length;
    expect(await count(size * 3 - 1, true)).toBe(2);
    expect(await count(size * 3, true)).toBe(3);
    expect(await count(size - 1, true)).toBe(1);
    expect(await count(size - 1, false)).toBe(0);
    expect(await count(0, true)).toBe(1);
    expect(await count(-1, false)).toBe(0);
  });

  test('the end can be read (nothing is there), what is beyond it is refused', async () => {
    const { log } = await openLog(await temporaryFolder());
    await append(log, names(0, 2));
    const end = await log.find(2);
    expect(await log.read(end, noLimit, true)).toHaveLength(0);
    await expect(log.find(3)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    await expect(log.find(-1)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    expect(log.bytesFrom(end)).toBe(0);
    await append(log, names(2, 3));
    expect(log.bytesFrom(end)).toBeGreaterThan(60);
    expect(await log.read(end, noLimit, true)).toHaveLength(log.bytesFrom(end));
  });

  test('a place at the end of a segment goes on in the next one', async () => {
    const { log } = await openLog(await temporaryFolder(), 1000);
    await append(log, [Buffer.alloc(900)]);
    const end = await log.find(1);
    await append(log, [Buffer.alloc(901)]);
    expect(log.segmentCount).toBe(2);
    const [batch] = readRecordsBatches(Reader.from(await log.read(end, noLimit, true)));
    expect(Number(batch?.firstOffset)).toBe(1);
  });

  test('the stored batch is the produced one but for its place', async () => {
    const folder = await temporaryFolder();
    const { log } = await openLog(folder);
    await append(log, ['first']);
    const produced = batchOf(['second'], { compression: 'gzip' });
    await log.append(produced, checkProduced(produced, noLimit));
    const stored = await log.read(await log.find(1), noLimit, true);
    expect(stored.readBigInt64BE(0)).toBe(1n);
    expect(stored.subarray(16).equals(produced.subarray(16))).toBe(true);
  });

  test('a listener hears of every append and of the end, until it stops listening', async () => {
    const { log } = await openLog(await temporaryFolder());
    const ends: number[] = [];
    const stop = log.onChange(() => ends.push(log.endOffset));
    await append(log, names(0, 2));
    await append(log, names(2, 3));
    stop();
    await append(log, names(3, 4));
    expect(ends).toEqual([2, 3]);
    const closed: boolean[] = [];
    log.onChange(() => closed.push(log.closed));
    await log.close();
    expect(closed).toEqual([true]);
    await expect(append(log, ['late'])).rejects.toBeInstanceOf(KafkaError);
  });

  test('a full disk fails the appends and leaves what is there readable', async () => {
    const folder = await temporaryFolder();
    const { log, lines } = await openLog(folder, 500);
    await append(log, [Buffer.alloc(400)]);
    // The next segment's file is one that is always full.
    await symlink('/dev/full', join(folder, '00000000000000000001.log'));
    const appends = [append(log, [Buffer.alloc(300)]), append(log, ['another'])];
    for (const result of await Promise.allSettled(appends)) {
      expect(result).toMatchObject({ reason: { code: 'KAFKA_STORAGE_ERROR' } });
    }
    await expect(append(log, ['later'])).rejects.toMatchObject({ code: 'KAFKA_STORAGE_ERROR' });
    expect(lines).toEqual([expect.stringContaining('ENOSPC')]);
    expect(log.endOffset).toBe(1);
    expect(await readFrom(log, 0)).toHaveLength(1);
  });
});

describe('recovery', () => {
  const segment = '00000000000000000000.log';

  async function filledFolder(): Promise<{ folder: string; path: string; size: number }> {
    const folder = await temporaryFolder();
    const { log } = await openLog(folder);
    for (let i = 0; i < 10; i++) await append(log, names(i * 2, i * 2 + 2));
    await log.close();
    const path = join(folder, segment);
    return { folder, path, size: (await stat(path)).size };
  }

  test.each([1, 11, 60, 61, 80])('a batch that lacks its last %i bytes is cut off', async (n) => {
    const { folder, path, size } = await filledFolder();
    const file = await open(path, 'r+');
    await file.truncate(size - n);
    await file.close();
    const { log, lines } = await openLog(folder);
    expect(log.endOffset).toBe(18);
    expect(lines).toEqual([expect.stringMatching(/cut off \d+ bytes after offset 17/)]);
    expect((await stat(path)).size).toBe((size / 10) * 9);
    expect(await append(log, names(18, 20))).toBe(18);
    expect(await valuesFrom(log, 0)).toEqual(names(0, 20));
  });

  test('a batch with a damaged byte is cut off, with all that follows', async () => {
    const { folder, path, size } = await filledFolder();
    const file = await open(path, 'r+');
    await file.write(Buffer.from('?'), 0, 1, Math.floor(size * 0.75));
    await file.close();
    const { log, lines } = await openLog(folder);
    expect(log.endOffset).toBe(14);
    expect(lines).toHaveLength(1);
    expect(await valuesFrom(log, 0)).toEqual(names(0, 14));
    await log.close();
    expect((await openLog(folder)).lines).toEqual([]);
  });

  test.each([
    ['zeros', Buffer.alloc(5000)],
    ['noise', Buffer.alloc(5000, 'noise')],
    ['a batch out of place', batchOf(['stray'])],
  ])('%s after the last batch are cut off', async (_, rest) => {
    const { folder, path, size } = await filledFolder();
    await appendFile(path, rest);
    const { log, lines } = await openLog(folder);
    expect(log.endOffset).toBe(20);
    expect(lines).toEqual([expect.stringContaining(`cut off ${rest.length} bytes`)]);
    expect((await stat(path)).size).toBe(size);
  });

  test('segments after a damaged one are set aside, not deleted', async () => {
    const folder = await temporaryFolder();
    const { log } = await openLog(folder, 500);
    for (let i = 0; i < 6; i++) await append(log, [Buffer.alloc(400, i)]);
    await log.close();
    const [first, second, third] = (await readdir(folder)).sort();
    const path = join(folder, second ?? '');
    const content = await readFile(path);
    content[content.length - 1] = 99;
    await writeFile(path, content);
    const { log: again, lines } = await openLog(folder, 500);
    expect(again.endOffset).toBe(1);
    expect(lines).toHaveLength(5);
    const left = (await readdir(folder)).sort();
    expect(left).toContain(first);
    expect(left).toContain(`${third}.orphaned`);
    expect(await append(again, ['goes on'])).toBe(1);
  });

  test('an empty folder and an empty segment are the beginning of a log', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, segment), '');
    await writeFile(join(folder, 'something-else.txt'), 'not a segment');
    const { log, lines } = await openLog(folder);
    expect([log.startOffset, log.endOffset, lines]).toEqual([0, 0, []]);
    expect(await append(log, ['one'])).toBe(0);
  });
});

describe('idempotent producers', () => {
  const producer = { producerId: 7, producerEpoch: 0 };

  test('a repeated batch is stored once and answered with its first offset', async () => {
    const folder = await temporaryFolder();
    const { log } = await openLog(folder);
    await append(log, ['of another']);
    expect(await append(log, names(0, 2), { ...producer, sequence: 0 })).toBe(1);
    expect(await append(log, names(2, 3), { ...producer, sequence: 2 })).toBe(3);
    expect(await append(log, names(0, 2), { ...producer, sequence: 0 })).toBe(1);
    expect(log.endOffset).toBe(4);
    await log.close();
    const { log: again } = await openLog(folder);
    expect(await append(again, names(2, 3), { ...producer, sequence: 2 })).toBe(3);
    expect(await append(again, names(3, 4), { ...producer, sequence: 3 })).toBe(4);
  });

  test('both copies of a batch that come at once get the same offset', async () => {
    const { log } = await openLog(await temporaryFolder());
    const twice = [0, 0].map((sequence) => append(log, ['same'], { ...producer, sequence }));
    expect(await Promise.all(twice)).toEqual([0, 0]);
    expect(log.endOffset).toBe(1);
  });

  test('a gap and an old epoch are refused, a new epoch begins at 0', async () => {
    const { log } = await openLog(await temporaryFolder());
    await append(log, ['a'], { ...producer, sequence: 0 });
    const error = (code: string) => expect.objectContaining({ code });
    await expect(append(log, ['c'], { ...producer, sequence: 2 })).rejects.toEqual(
      error('OUT_OF_ORDER_SEQUENCE_NUMBER'),
    );
    await expect(
      append(log, ['b'], { producerId: 7, producerEpoch: 1, sequence: 1 }),
    ).rejects.toEqual(error('OUT_OF_ORDER_SEQUENCE_NUMBER'));
    expect(await append(log, ['b'], { producerId: 7, producerEpoch: 1, sequence: 0 })).toBe(1);
    await expect(append(log, ['b'], { ...producer, sequence: 1 })).rejects.toEqual(
      error('INVALID_PRODUCER_EPOCH'),
    );
  });

  test('sequence numbers go round', async () => {
    const { log } = await openLog(await temporaryFolder());
    await append(log, names(0, 2), { ...producer, sequence: 2 ** 31 - 2 });
    expect(await append(log, names(2, 3), { ...producer, sequence: 0 })).toBe(2);
  });
});

describe('timestamps', () => {
  test('the first record of a time or later is found, in any segment', async () => {
    const folder = await temporaryFolder();
    const { log } = await openLog(folder, 50_000);
    for (let i = 0; i < 500; i++) {
      const timestamps = [1000 + i * 30, 1010 + i * 30, 1020 + i * 30];
      await append(log, [Buffer.alloc(80), Buffer.alloc(80), Buffer.alloc(80)], { timestamps });
    }
    expect(log.segmentCount).toBeGreaterThan(2);
    for (const opened of [log, (await openLog(folder, 50_000)).log]) {
      expect(await opened.findTimestamp(0)).toEqual({ offset: 0, timestamp: 1000 });
      expect(await opened.findTimestamp(1001)).toEqual({ offset: 1, timestamp: 1010 });
      expect(await opened.findTimestamp(1010)).toEqual({ offset: 1, timestamp: 1010 });
      expect(await opened.findTimestamp(13_005)).toEqual({ offset: 1201, timestamp: 13_010 });
      expect(await opened.findTimestamp(15_990)).toEqual({ offset: 1499, timestamp: 15_990 });
      expect(await opened.findTimestamp(15_991)).toBeNull();
      expect(opened.maxTimestamp).toBe(15_990);
    }
  });

  test('in a compressed batch it is the first record of the batch', async () => {
    const { log } = await openLog(await temporaryFolder());
    await append(log, ['a', 'b'], { timestamps: [5, 6] });
    await append(log, ['c', 'd'], { timestamps: [7, 8], compression: 'gzip' });
    expect(await log.findTimestamp(6)).toEqual({ offset: 1, timestamp: 6 });
    expect(await log.findTimestamp(8)).toEqual({ offset: 2, timestamp: 7 });
  });

  test('an empty log has none', async () => {
    const { log } = await openLog(await temporaryFolder());
    expect(await log.findTimestamp(0)).toBeNull();
    expect(await log.findTimestamp(log.maxTimestamp)).toBeNull();
  });
});
