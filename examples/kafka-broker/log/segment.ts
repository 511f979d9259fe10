import { closeSync, constants, fdatasync, openSync, writeSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type BatchHeader, batchHeaderBytes, isIntact, readBatchHeader } from './batch.js';

/** A batch's place in its segment. */
export interface LocatedBatch {
  readonly position: number;
  readonly header: BatchHeader;
  /** The batch itself, where it was asked for; else empty. */
  readonly bytes: Buffer;
}

/** One entry covers the batches that begin in the `indexIntervalBytes` from it on. */
interface IndexEntry {
  readonly offset: number;
  readonly position: number;
  maxTimestamp: number;
}

/** An entry of about 50 bytes for each so many of a log; the same amount is read to find a batch. */
const indexIntervalBytes = 32_768;
const headerScanBytes = 65_536;
const fullScanBytes = 1_048_576;

/**
 * One file of a log: record batches without anything between them, named after the first one's
 * offset. Its index is kept in memory alone and made anew by {@link recover}.
 */
export class Segment {
  readonly baseOffset: number;
  /** The log's bytes in the segments before this one. */
  readonly startByte: number;
  /** Bytes written and readable: a write under way doesn't count. */
  size = 0;
  maxTimestamp = -1;
  readonly path: string;
  readonly #index: IndexEntry[] = [];
  #reader: Promise<FileHandle> | null = null;
  #writer: number | null = null;

  constructor(directory: string, baseOffset: number, startByte: number) {
    this.baseOffset = baseOffset;
    this.startByte = startByte;
    this.path = join(directory, `${String(baseOffset).padStart(20, '0')}.log`);
  }

  /** The base offset in a segment file's name, or null for another file. */
  static baseOffsetOf(fileName: string): number | null {
    const match = /^(\d{20})\.log$/.exec(fileName);
    return match === null ? null : Number(match[1]);
  }

  /**
   * Writes a placed batch (see `placeBatch`) after the end, to be admitted when this is done.
   *
   * Synchronous, as it is in Kafka's request handlers: this copies into the page cache, and that
   * takes less time than to hand it to another thread and hear of it again.
   */
  write(batch: Buffer): void {
    this.#writer ??= openSync(this.path, constants.O_WRONLY | constants.O_CREAT);
    let written = 0;
    // A short write is followed by one that throws what kept it short, or by one that goes through.
    while (written < batch.length) {
      written += writeSync(
        this.#writer,
        batch,
        written,
        batch.length - written,
        this.size + written,
      );
    }
  }

  /** Makes the next written batch part of the segment: from now on it can be read. */
  admit(header: BatchHeader, baseOffset = header.baseOffset): void {
    const last = this.#index.at(-1);
    if (last === undefined || this.size >= last.position + indexIntervalBytes) {
      const { maxTimestamp } = header;
      this.#index.push({ offset: baseOffset, position: this.size, maxTimestamp });
    } else {
      last.maxTimestamp = Math.max(last.maxTimestamp, header.maxTimestamp);
    }
    this.maxTimestamp = Math.max(this.maxTimestamp, header.maxTimestamp);
    this.size += header.size;
  }

  /**
   * Checks the file batch by batch and takes in what is whole and follows on; gives the rest's
   * size. `visit` sees each batch's header.
   */
  async recover(visit: (header: BatchHeader) => void): Promise<number> {
    const reader = await this.#openReader();
    const { size: fileSize } = await reader.stat();
    let nextOffset = this.baseOffset;
    for await (const { header, bytes } of this.batches(0, fileSize, true)) {
      if (header.baseOffset !== nextOffset || !isIntact(bytes, header)) break;
      this.admit(header);
      visit(header);
      nextOffset += header.lastOffsetDelta + 1;
    }
    return fileSize - this.size;
  }

  /** Where to begin looking for the batch with `offset`: at or before it. */
  positionBefore(offset: number): number {
    let low = 0;
    let high = this.#index.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#index[middle]?.offset ?? Infinity) <= offset) low = middle + 1;
      else high = middle;
    }
    return this.#index[low - 1]?.position ?? 0;
  }

  /** Where to begin looking for the first batch with a timestamp of at least `timestamp`. */
  positionOfTimestamp(timestamp: number): number {
    return this.#index.find((entry) => entry.maxTimestamp >= timestamp)?.position ?? this.size;
  }

  /** Goes through the batches from `from` to `to`, until something isn't one. */
  async *batches(from: number, to: number, whole = false): AsyncGenerator<LocatedBatch> {
    const scanBytes = whole ? fullScanBytes : headerScanBytes;
    let chunk: Buffer = Buffer.alloc(0);
    let chunkStart = from;
    let position = from;
    // Reads on where less than `bytes` from the position on are at hand.
    const need = async (bytes: number) => {
      if (position + bytes <= chunkStart + chunk.length) return;
      chunk = await this.read(position, Math.min(Math.max(bytes, scanBytes), to - position));
      chunkStart = position;
    };
    while (position + batchHeaderBytes <= to) {
      await need(batchHeaderBytes);
      if (chunkStart + chunk.length < position + batchHeaderBytes) return;
      const header = readBatchHeader(chunk, position - chunkStart);
      if (header.size < batchHeaderBytes || position + header.size > to) return;
      if (whole) await need(header.size);
      const at = position - chunkStart;
      const bytes = whole ? chunk.subarray(at, at + header.size) : chunk.subarray(0, 0);
      yield { position, header, bytes };
      position += header.size;
    }
  }

  /** Up to `length` bytes; fewer only where the file ends. */
  async read(position: number, length: number): Promise<Buffer> {
    const reader = await this.#openReader();
    const buffer = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await reader.read(buffer, filled, length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  /** Cuts off everything that {@link recover} didn't take in. */
  async cutOffRest(): Promise<void> {
    const reader = await this.#openReader();
    await reader.truncate(this.size);
  }

  /** Closes the file, once the reads of it are done; `sync` makes it outlast the machine. */
  async close(sync = false): Promise<void> {
    const writer = this.#writer;
    const reader = this.#reader;
    this.#writer = null;
    this.#reader = null;
    try {
      if (writer !== null && sync) await promisify(fdatasync)(writer);
    } finally {
      if (writer !== null) closeSync(writer);
      const handle = await reader?.catch(() => null);
      await handle?.close();
    }
  }

  async remove(): Promise<void> {
    await this.close();
    await rm(this.path, { force: true });
  }

  /** Keeps the file but takes it out of the log. */
  async setAside(): Promise<void> {
    await this.close();
    await rename(this.path, `${this.path}.orphaned`);
  }

  /** Made or opened when first needed: a partition without data holds no file descriptor. */
  #openReader(): Promise<FileHandle> {
    this.#reader ??= open(this.path, constants.O_RDWR | constants.O_CREAT);
    return this.#reader;
  }
}
