import { readInt64 } from './int64.js';

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
 * Reads a request, in the protocol's classic or its flexible encoding. Every length is checked
 * against the bytes that are there before anything is read or allocated.
 */
export class RequestReader {
  /** Flexible versions have compact lengths, and tagged fields after each structure. */
  flexible = false;
  readonly #body: Buffer;
  #position = 0;
  #entriesLeft = maxEntries;

  constructor(body: Buffer) {
    this.#body = body;
  }

  int8(): number {
    const at = this.#take(1);
    return this.#body.readInt8(at);
  }

  int16(): number {
    const at = this.#take(2);
    return this.#body.readInt16BE(at);
  }

  int32(): number {
    const at = this.#take(4);
    return this.#body.readInt32BE(at);
  }

  int64(): number {
    const at = this.#take(8);
    return readInt64(this.#body, at);
  }

  boolean(): boolean {
    return this.int8() === 1;
  }

  uuid(): string {
    const at = this.#take(16);
    const hex = this.#body.toString('hex', at, at + 16);
    return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5');
  }

  string(): string {
    return this.nullableString() ?? fail('a string is null');
  }

  nullableString(compact = this.flexible): string | null {
    const length = compact ? this.#varint() - 1 : this.int16();
    if (length === -1) return null;
    if (length > maxStringBytes) fail(`a string of ${length} bytes`);
    const at = this.#take(length);
    return this.#body.toString('utf8', at, at + length);
  }

  bytes(): Buffer {
    return this.nullableBytes() ?? fail('bytes are null');
  }

  /** A view of the request's own memory. */
  nullableBytes(): Buffer | null {
    const length = this.flexible ? this.#varint() - 1 : this.int32();
    if (length === -1) return null;
    const at = this.#take(length);
    return this.#body.subarray(at, at + length);
  }

  /** An array of structures; a null array reads as an empty one. */
  array<T>(entry: () => T): T[] {
    return this.nullableArray(entry) ?? [];
  }

  nullableArray<T>(entry: () => T): T[] | null {
    return this.#entries(entry, true);
  }

  /** An array of integers or strings, which have no tagged fields of their own. */
  list<T>(entry: () => T): T[] {
    return this.#entries(entry, false) ?? [];
  }

  /** Skips the tagged fields at the end of a structure: none of them matters to this broker. */
  tags(): void {
    if (!this.flexible) return;
    const count = this.#varint();
    for (let i = 0; i < count; i++) {
      this.#varint();
      const size = this.#varint();
      this.#take(size);
    }
  }

  #entries<T>(entry: () => T, areStructures: boolean): T[] | null {
    const count = this.flexible ? this.#varint() - 1 : this.int32();
    if (count === -1) return null;
    // No entry is shorter than a byte.
    if (count < -1 || count > this.#remaining()) fail(`an array of ${count} entries`);
    this.#entriesLeft -= count;
    if (this.#entriesLeft < 0) fail(`more than ${maxEntries} array entries`);
    const values: T[] = [];
    while (values.length < count) {
      values.push(entry());
      if (areStructures) this.tags();
    }
    return values;
  }

  /** An unsigned number of 32 bits, seven of them in a byte. */
  #varint(): number {
    let value = 0;
    for (let i = 0; i < maxVarintBytes; i++) {
      const at = this.#take(1);
      const byte = this.#body.readUInt8(at);
      value |= (byte & 0x7f) << (7 * i);
      // The fifth byte's bits reach the sign.
      if (byte < 0x80) return value >>> 0;
    }
    return fail('a varint without end');
  }

  /** Goes on by so many bytes, which must be there; returns the place of the first. */
  #take(bytes: number): number {
    if (bytes < 0) fail(`a length of ${bytes}`);
    const left = this.#remaining();
    if (bytes > left) fail(`${bytes} bytes expected, ${left} left`);
    const at = this.#position;
    this.#position += bytes;
    return at;
  }

  #remaining(): number {
    return this.#body.length - this.#position;
  }
}

function fail(reason: string): never {
  throw new ProtocolError(reason);
}
