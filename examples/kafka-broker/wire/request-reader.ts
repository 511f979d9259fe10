import { Reader } from '@platformatic/kafka';
import { toNumber } from './int64.js';

/** A request that isn't Kafka's protocol: its connection is closed. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

/** Most array entries in one request, all its arrays together. */
const maxEntries = 200_000;
const maxVarintBytes = 5;
/** What the classic encoding can say; Kafka holds the flexible one to it too. */
const maxStringBytes = 32_767;

/**
 * Reads a request, in the protocol's classic or its flexible encoding.
 *
 * The library's Reader trusts its input (a negative length moves it backwards), so every length
 * is checked here against the bytes that are there before the library reads.
 */
export class RequestReader {
  /** Flexible versions have compact lengths, and tagged fields after each structure. */
  flexible = false;
  readonly #reader: Reader;
  #entriesLeft = maxEntries;

  constructor(body: Buffer) {
    this.#reader = Reader.from(body);
  }

  int8(): number {
    this.#need(1);
    return this.#reader.readInt8();
  }

  int16(): number {
    this.#need(2);
    return this.#reader.readInt16();
  }

  int32(): number {
    this.#need(4);
    return this.#reader.readInt32();
  }

  int64(): number {
    this.#need(8);
    return toNumber(this.#reader.readInt64());
  }

  boolean(): boolean {
    this.#need(1);
    return this.#reader.readBoolean();
  }

  uuid(): string {
    this.#need(16);
    return this.#reader.readUUID();
  }

  string(): string {
    return this.nullableString() ?? fail('a string is null');
  }

  nullableString(compact = this.flexible): string | null {
    const length = compact ? this.#peekVarint() - 1 : this.#peek(2, (reader) => reader.peekInt16());
    if (length > maxStringBytes) fail(`a string of ${length} bytes`);
    this.#needLength(length, compact ? this.#varintBytes() : 2);
    return this.#reader.readNullableString(compact);
  }

  bytes(): Buffer {
    return this.nullableBytes() ?? fail('bytes are null');
  }

  /** A view of the request's own memory. */
  nullableBytes(): Buffer | null {
    if (this.flexible) this.#needLength(this.#peekVarint() - 1, this.#varintBytes());
    else
      this.#needLength(
        this.#peek(4, (reader) => reader.peekInt32()),
        4,
      );
    return this.#reader.readNullableBytes(this.flexible);
  }

  /** An array of structures; a null array reads as an empty one. */
  array<T>(entry: () => T): T[] {
    return this.nullableArray(entry) ?? [];
  }

  nullableArray<T>(entry: () => T): T[] | null {
    return this.#entries(() => {
      const value = entry();
      this.tags();
      return value;
    });
  }

  /** An array of integers or strings, which have no tagged fields of their own. */
  list<T>(entry: () => T): T[] {
    return this.#entries(entry) ?? [];
  }

  /** Skips the tagged fields at the end of a structure: none of them matters to this broker. */
  tags(): void {
    if (!this.flexible) return;
    const count = this.#varint();
    for (let i = 0; i < count; i++) {
      this.#varint();
      const size = this.#varint();
      this.#need(size);
      this.#reader.skip(size);
    }
  }

  #entries<T>(entry: () => T): T[] | null {
    const count = this.flexible ? this.#varint() - 1 : this.int32();
    if (count === -1) return null;
    // No entry is shorter than a byte.
    if (count < -1 || count > this.#reader.remaining) fail(`an array of ${count} entries`);
    this.#entriesLeft -= count;
    if (this.#entriesLeft < 0) fail(`more than ${maxEntries} array entries`);
    return Array.from({ length: count }, entry);
  }

  #varint(): number {
    const value = this.#peekVarint();
    this.#reader.skip(this.#varintBytes());
    return value;
  }

  #peekVarint(): number {
    this.#varintBytes();
    // The library sums up signed shifts: the fifth byte may have made it negative.
    return this.#reader.peekUnsignedVarInt() >>> 0;
  }

  /** The size of the varint that comes next. */
  #varintBytes(): number {
    for (let size = 1; size <= maxVarintBytes; size++) {
      this.#need(size);
      if (this.#reader.peekUnsignedInt8(this.#reader.position + size - 1) < 0x80) return size;
    }
    return fail('a varint without end');
  }

  #peek(size: number, read: (reader: Reader) => number): number {
    this.#need(size);
    return read(this.#reader);
  }

  #needLength(length: number, prefix: number): void {
    if (length < -1) fail(`a length of ${length}`);
    this.#need(prefix + Math.max(0, length));
  }

  #need(bytes: number): void {
    const { remaining } = this.#reader;
    if (bytes > remaining) fail(`${bytes} bytes expected, ${remaining} left`);
  }
}

function fail(reason: string): never {
  throw new ProtocolError(reason);
}
