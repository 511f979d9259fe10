import { mkdir, readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { KafkaError } from '../errors.js';
import {
  type BatchHeader,
  firstRecordSince,
  placeBatch,
  type TimestampedOffset,
  wholeBatches,
} from './batch.js';
import { ProducerState } from './producer-state.js';
import { type LocatedBatch, Segment } from './segment.js';

export interface LogOptions {
  /** A segment is not made longer than this, but for a single larger batch. */
  readonly segmentBytes: number;
  readonly report: (line: string) => void;
}

/** Where a batch begins: what `find` gives and `read` takes. */
export interface Cursor {
  readonly segment: Segment;
  readonly position: number;
}

/**
 * A partition's records: an append-only sequence of batches in segment files.
 *
 * What an append promises: the write call has completed, so the operating system has the batch
 * and the death of this process doesn't lose it. It is not synced to the disk before `close()`,
 * so the machine's death may: Kafka's own default, which relies on replicas that are absent here.
 */
export class Log {
  readonly directory: string;
  readonly #options: LogOptions;
  readonly #segments: Segment[] = [];
  readonly #producers = new ProducerState();
  readonly #listeners = new Set<() => void>();
  #endOffset = 0;
  #hasFailed = false;
  #closed = false;

  private constructor(directory: string, options: LogOptions) {
    this.directory = directory;
    this.#options = options;
  }

  /** Opens the log of a folder, which may be new, and checks all that is in it. */
  static async open(directory: string, options: LogOptions): Promise<Log> {
    const log = new Log(directory, options);
    await mkdir(directory, { recursive: true });
    await log.#recover();
    return log;
  }

  /** The offset of the first record that is there. */
  get startOffset(): number {
    return this.#first.baseOffset;
  }

  /** The offset that the next record gets; all before it can be read. */
  get endOffset(): number {
    return this.#endOffset;
  }

  /** Bytes from the log's beginning to its end; grows with every append. */
  get endByte(): number {
    return this.#active.startByte + this.#active.size;
  }

  get segmentCount(): number {
    return this.#segments.length;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Appends a checked batch, writes it, and returns its base offset. The batch begins with that from
   * then on.
   *
   * @throws KafkaError for a batch out of its producer's order, or if the log can't be written
   */
  append(batch: Buffer, header: BatchHeader): number {
    if (this.#closed) throw new KafkaError('UNKNOWN_TOPIC_OR_PARTITION');
    if (this.#hasFailed) throw new KafkaError('KAFKA_STORAGE_ERROR');
    const repeated = this.#producers.check(header);
    if (repeated !== null) return repeated;
    if (this.#active.size + header.size > this.#options.segmentBytes) this.roll();
    const baseOffset = this.#endOffset;
    placeBatch(batch, baseOffset);
    this.#write(batch);
    this.#active.admit(header, baseOffset);
    this.#endOffset += header.count;
    this.#producers.record(header, baseOffset);
    this.#changed();
    return baseOffset;
  }

  /** Finds the batch with the record of that offset, or the end for the end's offset. */
  async find(offset: number): Promise<Cursor> {
    if (offset < this.startOffset || offset > this.#endOffset) {
      throw new KafkaError('OFFSET_OUT_OF_RANGE');
    }
    const segment = this.#segments.findLast(({ baseOffset }) => baseOffset <= offset);
    if (segment === undefined) throw new KafkaError('OFFSET_OUT_OF_RANGE');
    if (offset === this.#endOffset) return { segment, position: segment.size };
    return this.#guard(async () => {
      const from = segment.positionBefore(offset);
      for await (const { position, header } of segment.batches(from, segment.size)) {
        if (header.baseOffset + header.lastOffsetDelta >= offset) return { segment, position };
      }
      throw new KafkaError('KAFKA_STORAGE_ERROR', `${segment.path} has changed under the broker`);
    });
  }

  /** How many bytes can be read from there. */
  bytesFrom(cursor: Cursor): number {
    return this.endByte - cursor.segment.startByte - cursor.position;
  }

  /**
   * Reads whole batches, at most `maxBytes` of them and of one segment; with `atLeastOne` the
   * first one comes even if it is larger.
   */
  async read(cursor: Cursor, maxBytes: number, atLeastOne: boolean): Promise<Buffer> {
    const { segment, position } = this.#forward(cursor);
    const available = segment.size - position;
    if (available === 0 || this.#closed) return Buffer.alloc(0);
    return this.#guard(async () => {
      const bytes = await segment.read(position, Math.min(available, Math.max(0, maxBytes)));
      const whole = wholeBatches(bytes);
      if (whole > 0 || !atLeastOne) return bytes.subarray(0, whole);
      for await (const first of segment.batches(position, segment.size, true)) return first.bytes;
      throw new KafkaError('KAFKA_STORAGE_ERROR', `${segment.path} has changed under the broker`);
    });
  }

  /** The first record with that timestamp or a later one, or null. */
  async findTimestamp(timestamp: number): Promise<TimestampedOffset | null> {
    const segment = this.#segments.find(({ maxTimestamp }) => maxTimestamp >= timestamp);
    if (segment === undefined) return null;
    return this.#guard(async () => {
      const from = segment.positionOfTimestamp(timestamp);
      for await (const batch of segment.batches(from, segment.size, true)) {
        if (batch.header.maxTimestamp < timestamp) continue;
        return firstRecordSince(batch.bytes, batch.header, timestamp);
      }
      return null;
    });
  }

  /** The latest timestamp of any record, or -1. */
  get maxTimestamp(): number {
    return Math.max(...this.#segments.map(({ maxTimestamp }) => maxTimestamp));
  }

  /** All batches there are, from the first to the last. */
  async *batches(): AsyncGenerator<LocatedBatch> {
    for (const segment of [...this.#segments]) yield* segment.batches(0, segment.size, true);
  }

  /** Calls `listener` after each append, and when the log is closed; returns how to stop it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begins a new segment with the next append. */
  roll(): void {
    if (this.#active.size === 0) return;
    this.#segments.push(new Segment(this.directory, this.#endOffset, this.endByte));
  }

  /** Removes the segments that have only records before `offset`. */
  async dropBefore(offset: number): Promise<void> {
    while (this.#segments.length > 1 && (this.#segments[1]?.baseOffset ?? Infinity) <= offset) {
      await this.#segments.shift()?.remove();
    }
  }

  /** Ends all use: what is queued is still written, and synced unless the log is to be deleted. */
  async close(options: { sync: boolean } = { sync: true }): Promise<void> {
    this.#closed = true;
    this.#changed();
    const sync = options.sync && !this.#hasFailed;
    for (const segment of this.#segments) {
      try {
        await segment.close(sync);
      } catch (error) {
        this.#options.report(`${segment.path} may not be on the disk in full: ${error}`);
      }
    }
  }

  get #first(): Segment {
    return this.#segments[0] ?? fail();
  }

  get #active(): Segment {
    return this.#segments.at(-1) ?? fail();
  }

  /** A cursor at a segment's end is one at the next one's beginning. */
  #forward(cursor: Cursor): Cursor {
    if (cursor.position < cursor.segment.size) return cursor;
    const next = this.#segments[this.#segments.indexOf(cursor.segment) + 1];
    return next === undefined ? cursor : { segment: next, position: 0 };
  }

  #write(batch: Buffer): void {
    try {
      this.#active.write(batch);
    } catch (error) {
      // What is on the disk now is known only after a restart. Kafka takes the folder offline.
      this.#hasFailed = true;
      this.#options.report(`${this.directory} can't be written any more: ${error}`);
      throw new KafkaError('KAFKA_STORAGE_ERROR');
    }
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  async #recover(): Promise<void> {
    const names = await readdir(this.directory);
    const bases = names.flatMap((name) => Segment.baseOffsetOf(name) ?? []).sort((a, b) => a - b);
    let startByte = 0;
    let whole = true;
    for (const base of bases) {
      const segment = new Segment(this.directory, base, startByte);
      if (!whole || (this.#segments.length > 0 && base !== this.#endOffset)) {
        this.#options.report(`${segment.path} doesn't follow on what is before it: set aside`);
        await segment.setAside();
        continue;
      }
      whole = await this.#recoverSegment(segment);
      startByte += segment.size;
    }
    if (this.#segments.length === 0) this.#segments.push(new Segment(this.directory, 0, 0));
  }

  /** Takes a segment in as far as it is sound; returns whether that was all of it. */
  async #recoverSegment(segment: Segment): Promise<boolean> {
    this.#endOffset = segment.baseOffset;
    const rest = await segment.recover((header) => {
      this.#producers.record(header, header.baseOffset);
      this.#endOffset = header.baseOffset + header.lastOffsetDelta + 1;
    });
    this.#segments.push(segment);
    if (rest > 0) {
      await segment.cutOffRest();
      this.#options.report(
        `${segment.path}: cut off ${rest} bytes after offset ${this.#endOffset - 1} that are ` +
          `no intact record batch`,
      );
    }
    // Opened again when somebody asks for it.
    await segment.close();
    return rest === 0;
  }

  /** Where a log is closed under a reader, it is the topic that has gone. */
  async #guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (this.#closed)
        throw new KafkaError('UNKNOWN_TOPIC_OR_PARTITION', basename(this.directory));
      throw error;
    }
  }
}

function fail(): never {
  throw new Error('a log has at least one segment');
}
