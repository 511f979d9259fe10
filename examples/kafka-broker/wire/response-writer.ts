import { writeInt64 } from './int64.js';

/** Enough for most responses; what needs more doubles it. */
const firstBytes = 256;
/** Smaller pieces are copied together: cheaper than a piece of their own in the gathered write. */
const gatherFromBytes = 4096;
const maxVarintBytes = 5;

/** Writes a response, in the protocol's classic or its flexible encoding. */
export class ResponseWriter {
  readonly flexible: boolean;
  /** What is behind `#begin` and before `#end` is written, and in no piece yet. */
  #buffer = Buffer.allocUnsafe(firstBytes);
  #begin = 0;
  #end = 0;
  readonly #pieces: Buffer[] = [];

  constructor(flexible: boolean) {
    this.flexible = flexible;
  }

  int8(value: number): this {
    const at = this.#take(1);
    this.#buffer.writeInt8(value, at);
    return this;
  }

  int16(value: number): this {
    const at = this.#take(2);
    this.#buffer.writeInt16BE(value, at);
    return this;
  }

  int32(value: number): this {
    const at = this.#take(4);
    this.#buffer.writeInt32BE(value, at);
    return this;
  }

  int64(value: number): this {
    const at = this.#take(8);
    writeInt64(this.#buffer, value, at);
    return this;
  }

  boolean(value: boolean): this {
    return this.int8(value ? 1 : 0);
  }

  uuid(value: string): this {
    const at = this.#take(16);
    this.#buffer.write(value.replaceAll('-', ''), at, 'hex');
    return this;
  }

  string(value: string | null): this {
    const size = value === null ? -1 : Buffer.byteLength(value);
    if (this.flexible) this.#varint(size + 1);
    else this.int16(size);
    if (value !== null) {
      const at = this.#take(size);
      this.#buffer.write(value, at);
    }
    return this;
  }

  /** Large ones leave as they were given, and must not be changed. */
  bytes(value: Buffer | null): this {
    const size = value === null ? -1 : value.length;
    if (this.flexible) this.#varint(size + 1);
    else this.int32(size);
    if (value === null) return this;
    if (size >= gatherFromBytes) {
      this.#endPiece();
      this.#pieces.push(value);
    } else {
      const at = this.#take(size);
      value.copy(this.#buffer, at);
    }
    return this;
  }

  /** An array of structures: tagged fields follow each of them in flexible versions. */
  array<T>(values: readonly T[], write: (value: T) => unknown): this {
    this.#count(values.length);
    for (const value of values) {
      write(value);
      this.tags();
    }
    return this;
  }

  /** An array of integers or strings. */
  list<T>(values: readonly T[], write: (value: T) => unknown): this {
    this.#count(values.length);
    for (const value of values) write(value);
    return this;
  }

  /** The (empty) tagged fields at the end of a structure. */
  tags(): this {
    return this.flexible ? this.int8(0) : this;
  }

  /** The response in pieces: large fields as they were given, what lies between them joined. */
  finish(): Buffer[] {
    this.#endPiece();
    return this.#pieces;
  }

  #count(entries: number): void {
    if (this.flexible) this.#varint(entries + 1);
    else this.int32(entries);
  }

  #varint(value: number): void {
    let at = this.#take(maxVarintBytes);
    let rest = value;
    for (; rest >= 0x80; rest >>>= 7) this.#buffer[at++] = (rest & 0x7f) | 0x80;
    this.#buffer[at++] = rest;
    this.#end = at;
  }

  /** Makes room for so many bytes and counts them as written; returns their place. */
  #take(bytes: number): number {
    const at = this.#end;
    if (at + bytes <= this.#buffer.length) {
      this.#end = at + bytes;
      return at;
    }
    const written = this.#buffer.subarray(this.#begin, at);
    this.#buffer = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, written.length + bytes));
    written.copy(this.#buffer);
    this.#begin = 0;
    this.#end = written.length + bytes;
    return written.length;
  }

  #endPiece(): void {
    if (this.#end > this.#begin) this.#pieces.push(this.#buffer.subarray(this.#begin, this.#end));
    this.#begin = this.#end;
  }
}
