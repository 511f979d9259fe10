import { OdradekError } from './errors.js';
import type { Framing } from './framing.js';

/**
 * Puts a framing's header and trailer around replies. One per listener (or per connection, after
 * `setFraming`); shared by both transports.
 */
export interface ReplyFramer {
  /** The most bytes that {@link writeHeader} writes. */
  readonly maxHeaderBytes: number;
  /** What follows each reply; empty but for delimiters. */
  readonly trailer: Uint8Array;
  /** Writes the header of a reply of `length` bytes at `at` and returns its size. */
  writeHeader(target: Uint8Array, at: number, length: number): number;
  /** Throws `ERR_ODRADEK_REPLY_TOO_LARGE` where the framing can't say `length`. */
  check(length: number): void;
}

const noTrailer = new Uint8Array(0);

export function makeReplyFramer(framing: Framing, frameReplies: boolean): ReplyFramer {
  if (!frameReplies) return unframed;
  switch (framing.kind) {
    case 'lengthPrefixed':
      return new LengthHeader(framing.sizeBytes, framing.endianness, framing.adjustment);
    case 'varintPrefixed':
      return varintHeader;
    case 'delimited':
      return { ...unframed, trailer: framing.delimiter };
    case 'raw':
    case 'custom':
      return unframed;
  }
}

const unframed: ReplyFramer = {
  maxHeaderBytes: 0,
  trailer: noTrailer,
  writeHeader: () => 0,
  check: () => undefined,
};

class LengthHeader implements ReplyFramer {
  readonly maxHeaderBytes: number;
  readonly trailer = noTrailer;
  readonly #big: boolean;
  readonly #adjustment: number;
  readonly #most: number;

  constructor(sizeBytes: 1 | 2 | 3 | 4 | 8, endianness: 'big' | 'little', adjustment: number) {
    this.maxHeaderBytes = sizeBytes;
    this.#big = endianness === 'big';
    this.#adjustment = adjustment;
    // 4 and 8 byte fields are signed, and no Buffer is longer than 2^31 - 1 bytes wherever
    // Kafka's frames are spoken.
    this.#most = sizeBytes < 4 ? 2 ** (8 * sizeBytes) - 1 : 2_147_483_647;
  }

  check(length: number): void {
    const value = length - this.#adjustment;
    if (value >= 0 && value <= this.#most) return;
    throw new OdradekError(
      'ERR_ODRADEK_REPLY_TOO_LARGE',
      `a reply of ${length} bytes does not fit a length field of ${this.maxHeaderBytes} bytes`,
    );
  }

  writeHeader(target: Uint8Array, at: number, length: number): number {
    const size = this.maxHeaderBytes;
    let value = length - this.#adjustment;
    if (this.#big && size === 4) {
      target[at] = value >>> 24;
      target[at + 1] = value >>> 16;
      target[at + 2] = value >>> 8;
      target[at + 3] = value;
      return 4;
    }
    for (let i = 0; i < size; i++) {
      target[this.#big ? at + size - 1 - i : at + i] = value % 256;
      value = Math.floor(value / 256);
    }
    return size;
  }
}

const varintHeader: ReplyFramer = {
  maxHeaderBytes: 5,
  trailer: noTrailer,
  check(length) {
    if (length <= 2_147_483_647) return;
    throw new OdradekError(
      'ERR_ODRADEK_REPLY_TOO_LARGE',
      `a reply of ${length} bytes does not fit a varint length`,
    );
  },
  writeHeader(target, at, length) {
    let value = length;
    let end = at;
    while (value > 127) {
      target[end++] = (value & 127) | 128;
      value >>>= 7;
    }
    target[end++] = value;
    return end - at;
  },
};
