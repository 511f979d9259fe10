import type { CloseCode } from './close-reason.js';
import { describe } from './errors.js';
import type {
  CustomFraming,
  DelimitedFraming,
  Framing,
  LengthPrefixedFraming,
  RawFraming,
  SplitFrame,
  VarintPrefixedFraming,
} from './framing.js';

/** What a connection's bytes did wrong: it ends with this code. */
export class FrameError extends Error {
  readonly code: CloseCode;

  constructor(code: CloseCode, detail: string) {
    super(detail);
    this.code = code;
  }
}

/** Where a frame was found, counted from its first byte. */
export interface FoundFrame {
  length: number;
  bodyStart: number;
  bodyEnd: number;
}

/** The frame is complete: {@link FrameFinder.frame} says where. */
export const found = 0;
/** The frame is incomplete, and how much is missing can't be known yet. */
export const more = -1;

/** Finds the frames of one connection by one framing. Has state between calls for one frame. */
export interface FrameFinder {
  readonly frame: FoundFrame;
  /**
   * Looks for a frame that begins at `at`, in `bytes` up to `end`. Returns {@link found},
   * {@link more}, or how many bytes from `at` on it takes to see further.
   *
   * @throws FrameError if the bytes break the framing
   */
  find(bytes: Buffer, at: number, end: number): number;
  /** The next call looks for another frame, or for the same one from its beginning. */
  reset(): void;
}

export function makeFrameFinder(framing: Framing): FrameFinder {
  switch (framing.kind) {
    case 'lengthPrefixed':
      return new LengthFinder(framing);
    case 'varintPrefixed':
      return new VarintFinder(framing);
    case 'delimited':
      return new DelimiterFinder(framing);
    case 'raw':
      return new RawFinder(framing);
    case 'custom':
      return new CustomFinder(framing);
  }
}

class LengthFinder implements FrameFinder {
  readonly frame: FoundFrame;
  readonly #framing: LengthPrefixedFraming;
  readonly #headerBytes: number;

  constructor(framing: LengthPrefixedFraming) {
    this.#framing = framing;
    this.#headerBytes = framing.offset + framing.sizeBytes;
    this.frame = { length: 0, bodyStart: framing.strip, bodyEnd: 0 };
  }

  find(bytes: Buffer, at: number, end: number): number {
    const headerBytes = this.#headerBytes;
    if (end - at < headerBytes) return headerBytes;
    const { offset, adjustment, strip, maxFrameBytes } = this.#framing;
    const value = this.#read(bytes, at + offset);
    const rest = value + adjustment;
    if (value < 0 || rest < 0) {
      throw new FrameError('FRAME_LENGTH_INVALID', `the length field says ${value}`);
    }
    if (rest > maxFrameBytes) throw tooLarge(`${rest} bytes`, maxFrameBytes);
    const length = headerBytes + rest;
    if (length < strip) {
      throw new FrameError('FRAME_LENGTH_INVALID', `${length} bytes, of which ${strip} go off`);
    }
    if (end - at < length) return length;
    this.frame.length = length;
    this.frame.bodyEnd = length;
    return found;
  }

  #read(bytes: Buffer, at: number): number {
    const big = this.#framing.endianness === 'big';
    switch (this.#framing.sizeBytes) {
      case 1:
        return bytes.readUInt8(at);
      case 2:
        return big ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at);
      case 3:
        return big ? bytes.readUIntBE(at, 3) : bytes.readUIntLE(at, 3);
      case 4:
        return big ? bytes.readInt32BE(at) : bytes.readInt32LE(at);
      case 8: {
        // Beyond 2^53 the sum is rounded, but by then it is far above any maximum.
        const high = big ? bytes.readInt32BE(at) : bytes.readInt32LE(at + 4);
        const low = big ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at);
        return high * 2 ** 32 + low;
      }
    }
  }

  reset(): void {}
}

/** Five groups of seven bits are enough for every length below 2^35. */
const maxVarintBytes = 5;

class VarintFinder implements FrameFinder {
  readonly frame: FoundFrame = { length: 0, bodyStart: 0, bodyEnd: 0 };
  readonly #maxFrameBytes: number;

  constructor(framing: VarintPrefixedFraming) {
    this.#maxFrameBytes = framing.maxFrameBytes;
  }

  find(bytes: Buffer, at: number, end: number): number {
    let value = 0;
    for (let i = 0; i < maxVarintBytes; i++) {
      if (at + i === end) return i + 1;
      const byte = bytes[at + i] as number;
      value += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return this.#locate(i + 1, value, end - at);
    }
    throw new FrameError('FRAME_INVALID', `a varint length of more than ${maxVarintBytes} bytes`);
  }

  #locate(headerBytes: number, value: number, have: number): number {
    if (value > this.#maxFrameBytes) throw tooLarge(`${value} bytes`, this.#maxFrameBytes);
    const length = headerBytes + value;
    if (have < length) return length;
    this.frame.length = length;
    this.frame.bodyStart = headerBytes;
    this.frame.bodyEnd = length;
    return found;
  }

  reset(): void {}
}

class DelimiterFinder implements FrameFinder {
  readonly frame: FoundFrame = { length: 0, bodyStart: 0, bodyEnd: 0 };
  readonly #framing: DelimitedFraming;
  /** Where the delimiter may still begin: what lies before was searched when it came. */
  #from = 0;

  constructor(framing: DelimitedFraming) {
    this.#framing = framing;
  }

  find(bytes: Buffer, at: number, end: number): number {
    const { delimiter, strip, maxFrameBytes } = this.#framing;
    const have = end - at;
    const size = bytes.subarray(at, end).indexOf(delimiter, this.#from);
    if (size === -1) {
      this.#from = Math.max(0, have - delimiter.length + 1);
      if (this.#from > maxFrameBytes) {
        throw tooLarge(`no delimiter within ${this.#from} bytes`, maxFrameBytes);
      }
      return more;
    }
    if (size > maxFrameBytes) throw tooLarge(`${size} bytes`, maxFrameBytes);
    this.frame.length = size + delimiter.length;
    this.frame.bodyEnd = strip ? size : this.frame.length;
    return found;
  }

  reset(): void {
    this.#from = 0;
  }
}

class RawFinder implements FrameFinder {
  readonly frame: FoundFrame = { length: 0, bodyStart: 0, bodyEnd: 0 };
  readonly #maxFrameBytes: number;

  constructor(framing: RawFraming) {
    this.#maxFrameBytes = framing.maxFrameBytes;
  }

  find(_bytes: Buffer, at: number, end: number): number {
    const length = Math.min(end - at, this.#maxFrameBytes);
    this.frame.length = length;
    this.frame.bodyEnd = length;
    return found;
  }

  reset(): void {}
}

class CustomFinder implements FrameFinder {
  readonly frame: FoundFrame = { length: 0, bodyStart: 0, bodyEnd: 0 };
  readonly #framing: CustomFraming;

  constructor(framing: CustomFraming) {
    this.#framing = framing;
  }

  find(bytes: Buffer, at: number, end: number): number {
    const have = end - at;
    const { maxFrameBytes } = this.#framing;
    const result = this.#split(bytes.subarray(at, end));
    if (result === null) {
      if (have > maxFrameBytes) throw tooLarge(`no end within ${have} bytes`, maxFrameBytes);
      return more;
    }
    const { length, bodyStart, bodyEnd } = result;
    if (!isBetween(1, length, have)) throw badSplit(`length ${describe(length)} of ${have}`);
    if (!isBetween(0, bodyStart, length)) throw badSplit(`bodyStart ${describe(bodyStart)}`);
    if (!isBetween(bodyStart, bodyEnd, length)) throw badSplit(`bodyEnd ${describe(bodyEnd)}`);
    if (length > maxFrameBytes) throw tooLarge(`${length} bytes`, maxFrameBytes);
    this.frame.length = length;
    this.frame.bodyStart = bodyStart;
    this.frame.bodyEnd = bodyEnd;
    return found;
  }

  /** Calls the program's function, and reads from its result while its errors are contained. */
  #split(bytes: Buffer): FoundFrame | null {
    let result: unknown;
    try {
      result = this.#framing.split(bytes);
      if (typeof result === 'object') {
        if (result === null) return null;
        const { length, bodyStart = 0, bodyEnd = length } = result as SplitFrame;
        return { length, bodyStart, bodyEnd };
      }
    } catch (error) {
      const text = error instanceof Error ? error.message : describe(error);
      throw new FrameError('FRAME_INVALID', `split threw: ${text}`);
    }
    throw badSplit(describe(result));
  }

  reset(): void {}
}

function isBetween(least: number, value: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}

function badSplit(what: string): FrameError {
  return new FrameError('FRAME_INVALID', `split returned ${what}`);
}

function tooLarge(what: string, maxFrameBytes: number): FrameError {
  return new FrameError('FRAME_TOO_LARGE', `${what}, maxFrameBytes is ${maxFrameBytes}`);
}
