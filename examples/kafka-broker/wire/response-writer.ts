import { Writer } from '@platformatic/kafka';

/** Smaller pieces are copied together: cheaper than a piece of their own in the gathered write. */
const gatherFromBytes = 4096;

/** Writes a response, in the protocol's classic or its flexible encoding. */
export class ResponseWriter {
  readonly flexible: boolean;
  readonly #writer = Writer.create();

  constructor(flexible: boolean) {
    this.flexible = flexible;
  }

  int8(value: number): this {
    this.#writer.appendInt8(value);
    return this;
  }

  int16(value: number): this {
    this.#writer.appendInt16(value);
    return this;
  }

  int32(value: number): this {
    this.#writer.appendInt32(value);
    return this;
  }

  int64(value: number): this {
    this.#writer.appendInt64(BigInt(value));
    return this;
  }

  boolean(value: boolean): this {
    this.#writer.appendBoolean(value);
    return this;
  }

  uuid(value: string): this {
    this.#writer.appendUUID(value);
    return this;
  }

  string(value: string | null): this {
    this.#writer.appendString(value, this.flexible);
    return this;
  }

  bytes(value: Buffer | null): this {
    this.#writer.appendBytes(value, this.flexible);
    return this;
  }

  /** An array of structures: tagged fields follow each of them in flexible versions. */
  array<T>(values: readonly T[], write: (value: T) => unknown): this {
    return this.#entries(values, write, this.flexible);
  }

  /** An array of integers or strings. */
  list<T>(values: readonly T[], write: (value: T) => unknown): this {
    return this.#entries(values, write, false);
  }

  /** The (empty) tagged fields at the end of a structure. */
  tags(): this {
    if (this.flexible) this.#writer.appendTaggedFields();
    return this;
  }

  /** The response in pieces: large fields as they were given, what lies between them joined. */
  finish(): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    let small: Buffer[] = [];
    const join = () => {
      if (small.length > 0) pieces.push(Buffer.concat(small));
      small = [];
    };
    for (const buffer of this.#writer.buffers) {
      if (buffer.length < gatherFromBytes) {
        small.push(buffer);
      } else {
        join();
        pieces.push(buffer);
      }
    }
    join();
    return pieces;
  }

  #entries<T>(values: readonly T[], write: (value: T) => unknown, tagged: boolean): this {
    this.#writer.appendArray([...values], (_, value) => write(value), this.flexible, tagged);
    return this;
  }
}
