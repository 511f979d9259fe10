import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRecordsBatch } from '@platformatic/kafka';
import { onTestFinished } from 'vitest';
import {
  type Broker,
  type BrokerOptions,
  createBroker,
} from '../../examples/kafka-broker/broker.js';

/** A folder of the test's own, removed with all that is in it when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'odradek-kafka-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export interface RunningBroker {
  readonly broker: Broker;
  readonly address: string;
  /** What the broker had to say. */
  readonly lines: string[];
}

/** A broker on a port of its own, closed when the test ends if it isn't already. */
export async function startBroker(
  options: Partial<BrokerOptions> & Pick<BrokerOptions, 'transport'>,
): Promise<RunningBroker> {
  const lines: string[] = [];
  const dataDir = options.dataDir ?? (await temporaryFolder());
  const report = (line: string) => lines.push(line);
  const broker = createBroker({ port: 0, ...options, dataDir, report });
  onTestFinished(() => broker.close());
  await broker.start();
  return { broker, address: `127.0.0.1:${broker.port}`, lines };
}

/** How much of a topic's first partition is on the disk. */
export async function storedBytes(dataDir: string, topic: string): Promise<number> {
  const folder = join(dataDir, 'topics', topic, '0');
  let bytes = 0;
  for (const name of await readdir(folder)) bytes += (await stat(join(folder, name))).size;
  return bytes;
}

export interface BatchOptions {
  readonly timestamps?: readonly number[];
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly sequence?: number;
  readonly compression?: 'none' | 'gzip';
  readonly transactional?: boolean;
}

/** A record batch as a producer sends it. */
export function batchOf(values: readonly (string | Buffer)[], options: BatchOptions = {}): Buffer {
  const { timestamps, producerId = -1, producerEpoch = 0, sequence = 0 } = options;
  const messages = values.map((value, i) => ({
    topic: 't',
    partition: 0,
    value: Buffer.from(value),
    timestamp: BigInt(timestamps?.[i] ?? 1_700_000_000_000 + i),
  }));
  return createRecordsBatch(messages, {
    compression: options.compression ?? 'none',
    producerId: BigInt(producerId),
    producerEpoch,
    sequences: { getWithDefault: () => sequence } as never,
    transactionalId: options.transactional ? 'a transaction' : null,
  }).buffer;
}

/** Numbers between 0 and 1, the same ones for the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const largeRecords = 25;
export const recordCount = 10_000;

/**
 * 10,000 values of mixed sizes, about 28 MB in all: 25 of 500 to 900 KB spread over the others,
 * which are mostly small, and some of a few kilobytes. Each one begins with its own number.
 */
export function mixedValues(seed: number): Buffer[] {
  const random = randomNumbers(seed);
  const pool = Buffer.allocUnsafe(2_000_000);
  for (let i = 0; i + 4 <= pool.length; i += 4) pool.writeUInt32LE(random() * 2 ** 32, i);
  return Array.from({ length: recordCount }, (_, i) => {
    const isLarge = i % (recordCount / largeRecords) === 17;
    const size = isLarge ? 500_000 + random() * 400_000 : 8 + random() ** 4 * 5_000;
    const start = Math.floor(random() * 1_000_000);
    const value = Buffer.from(pool.subarray(start, start + Math.floor(size)));
    value.writeUInt32BE(i, 0);
    return value;
  });
}

/** Splits values into groups whose sizes stay below a broker's default batch limit. */
export function inChunks(values: readonly Buffer[], maxBytes = 900_000): Buffer[][] {
  const chunks: Buffer[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const value of values) {
    if (bytes + value.length > maxBytes) {
      chunks.push([]);
      bytes = 0;
    }
    chunks.at(-1)?.push(value);
    bytes += value.length + 100;
  }
  return chunks;
}

/** The first value that differs, told shortly: comparing megabytes with `toEqual` prints them. */
export function firstDifference(
  actual: readonly Buffer[],
  expected: readonly Buffer[],
): string | null {
  if (actual.length !== expected.length) {
    return `${actual.length} values instead of ${expected.length}`;
  }
  const at = expected.findIndex((value, i) => !actual[i]?.equals(value));
  return at === -1 ? null : `value ${at} of ${actual[at]?.length} bytes differs`;
}
