import { createRecordsBatch, Reader, readRecordsBatch, Writer } from '@platformatic/kafka';
import { checkProduced } from '../log/batch.js';
import { Log, type LogOptions } from '../log/log.js';
import { toNumber } from '../wire/int64.js';

export interface CommittedOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly metadata: string;
}

/** A commit, or, with `committed` null, the end of one. */
interface Change {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly committed: CommittedOffset | null;
}

/** Records of one batch of a snapshot. */
const snapshotBatch = 1000;
/** A batch is written by this broker itself, for no other limit than its own memory. */
const maxBatchBytes = 2 ** 30;

/**
 * The offsets that groups have committed, kept as Kafka keeps them: as records of a log, the last
 * one for a group's partition counting. It outlasts restarts, and is written anew from what still
 * counts whenever it has grown by a segment, or to twice of that.
 */
export class OffsetStore {
  readonly #log: Log;
  readonly #segmentBytes: number;
  readonly #groups = new Map<string, Map<string, CommittedOffset>>();
  #changing: Promise<void> = Promise.resolve();
  /** Where the log's end is when it's time to write it anew. */
  #compactAtByte: number;

  private constructor(log: Log, segmentBytes: number) {
    this.#log = log;
    this.#segmentBytes = segmentBytes;
    this.#compactAtByte = segmentBytes;
  }

  static async open(folder: string, options: LogOptions): Promise<OffsetStore> {
    const store = new OffsetStore(await Log.open(folder, options), options.segmentBytes);
    for await (const { bytes } of store.#log.batches()) {
      for (const record of readRecordsBatch(Reader.from(bytes)).records) {
        store.#apply(decode(record.key, record.value));
      }
    }
    return store;
  }

  get(group: string, topic: string, partition: number): CommittedOffset | undefined {
    return this.#groups.get(group)?.get(keyOf(topic, partition));
  }

  ofGroup(group: string): CommittedOffset[] {
    return [...(this.#groups.get(group)?.values() ?? [])];
  }

  /** The groups that have offsets. */
  groups(): string[] {
    return [...this.#groups.keys()];
  }

  /** Resolves when the offsets are written. */
  commit(group: string, offsets: readonly CommittedOffset[]): Promise<void> {
    return this.#change(
      offsets.map((committed) => {
        const { topic, partition } = committed;
        return { group, topic, partition, committed };
      }),
    );
  }

  deleteGroup(group: string): Promise<void> {
    return this.#delete((one) => one === group);
  }

  deleteTopic(topic: string): Promise<void> {
    return this.#delete((_, committed) => committed.topic === topic);
  }

  async close(): Promise<void> {
    await this.#changing.catch(() => undefined);
    await this.#log.close();
  }

  #delete(matches: (group: string, committed: CommittedOffset) => boolean): Promise<void> {
    const changes: Change[] = [];
    for (const [group, offsets] of this.#groups) {
      for (const committed of offsets.values()) {
        if (!matches(group, committed)) continue;
        const { topic, partition } = committed;
        changes.push({ group, topic, partition, committed: null });
      }
    }
    return this.#change(changes);
  }

  /** Changes are written and applied one after the other, in the order in which they came. */
  #change(changes: readonly Change[]): Promise<void> {
    const changing = this.#changing
      .catch(() => undefined)
      .then(async () => {
        this.#append(changes);
        for (const change of changes) this.#apply(change);
        if (this.#log.endByte >= this.#compactAtByte) await this.#compact();
      });
    this.#changing = changing;
    return changing;
  }

  #append(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    const batch = createRecordsBatch(changes.map(encode)).buffer;
    this.#log.append(batch, checkProduced(batch, maxBatchBytes));
  }

  #apply({ group, topic, partition, committed }: Change): void {
    const offsets = this.#groups.get(group) ?? new Map<string, CommittedOffset>();
    if (committed === null) offsets.delete(keyOf(topic, partition));
    else offsets.set(keyOf(topic, partition), committed);
    if (offsets.size === 0) this.#groups.delete(group);
    else this.#groups.set(group, offsets);
  }

  /** Writes all that counts into a segment of its own, then removes those before it. */
  async #compact(): Promise<void> {
    this.#log.roll();
    const { endOffset: snapshotOffset, endByte: snapshotByte } = this.#log;
    const changes: Change[] = [];
    for (const [group, offsets] of this.#groups) {
      for (const committed of offsets.values()) changes.push({ group, ...committed, committed });
    }
    for (let i = 0; i < changes.length; i += snapshotBatch) {
      this.#append(changes.slice(i, i + snapshotBatch));
    }
    await this.#log.dropBefore(snapshotOffset);
    const snapshotBytes = this.#log.endByte - snapshotByte;
    this.#compactAtByte = this.#log.endByte + Math.max(this.#segmentBytes, snapshotBytes);
  }
}

function keyOf(topic: string, partition: number): string {
  return `${topic}:${partition}`;
}

function encode({ group, topic, partition, committed }: Change) {
  const key = Writer.create().appendString(group).appendString(topic).appendInt32(partition);
  const value = Writer.create();
  if (committed !== null) {
    value
      .appendInt64(BigInt(committed.offset))
      .appendInt32(committed.leaderEpoch)
      .appendString(committed.metadata);
  }
  return { topic: '', key: key.buffer, value: value.buffer };
}

function decode(key: Buffer, value: Buffer): Change {
  const keyReader = Reader.from(key);
  const group = keyReader.readString();
  const topic = keyReader.readString();
  const partition = keyReader.readInt32();
  if (value.length === 0) return { group, topic, partition, committed: null };
  const reader = Reader.from(value);
  const committed = {
    topic,
    partition,
    offset: toNumber(reader.readInt64()),
    leaderEpoch: reader.readInt32(),
    metadata: reader.readString(),
  };
  return { group, topic, partition, committed };
}
