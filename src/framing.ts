import { checkInteger, checkNames, invalidOption } from './check.js';
import type { OdradekError } from './errors.js';

/**
 * How a stream of bytes is cut into frames, as plain data: the native core and the js transport
 * read the same description.
 */
export type Framing =
  | LengthPrefixedFraming
  | VarintPrefixedFraming
  | DelimitedFraming
  | RawFraming
  | CustomFraming;

/** Made by {@link lengthPrefixed}, which says what the fields mean. */
export interface LengthPrefixedFraming {
  /** Tells the framings apart. */
  readonly kind: 'lengthPrefixed';
  /** Length of the length field. */
  readonly sizeBytes: 1 | 2 | 3 | 4 | 8;
  /** Order of its bytes. */
  readonly endianness: 'big' | 'little';
  /** Bytes before the length field. */
  readonly offset: number;
  /** Added to its value to get the number of bytes that follow it. */
  readonly adjustment: number;
  /** Bytes cut off the front of a frame before the handler sees it. */
  readonly strip: number;
  /** Most bytes after the length field. */
  readonly maxFrameBytes: number;
}

/** Made by {@link varintPrefixed}. */
export interface VarintPrefixedFraming {
  /** Tells the framings apart. */
  readonly kind: 'varintPrefixed';
  /** Most bytes after the length. */
  readonly maxFrameBytes: number;
}

/** Made by {@link delimited}. */
export interface DelimitedFraming {
  /** Tells the framings apart. */
  readonly kind: 'delimited';
  /** What ends a frame. */
  readonly delimiter: Uint8Array;
  /** Whether the delimiter is cut off before the handler sees the frame. */
  readonly strip: boolean;
  /** Most bytes before the delimiter. */
  readonly maxFrameBytes: number;
}

/** Made by {@link raw}. */
export interface RawFraming {
  /** Tells the framings apart. */
  readonly kind: 'raw';
  /** Largest piece, in bytes. */
  readonly maxFrameBytes: number;
}

/** Made by {@link custom}. */
export interface CustomFraming {
  /** Tells the framings apart. */
  readonly kind: 'custom';
  /** Finds the first frame. */
  readonly split: Split;
  /** Most bytes of one frame in all. */
  readonly maxFrameBytes: number;
}

/**
 * Finds the first frame of `bytes`, which begin where the frame before ended. Returns `null`
 * while the frame is incomplete. A throw closes the connection with `FRAME_INVALID`.
 */
export type Split = (bytes: Buffer) => SplitFrame | null;

/** The first frame that a {@link Split} has found, by its places in the bytes that it was given. */
export interface SplitFrame {
  /** How many bytes the frame takes in all, header and trailer included: at least 1. */
  readonly length: number;
  /** Where the request's body begins; default 0. */
  readonly bodyStart?: number;
  /** Where the request's body ends (exclusive); default `length`. */
  readonly bodyEnd?: number;
}

/** Kafka's `socket.request.max.bytes`. */
const defaultMaxFrameBytes = 104_857_600;
/** Lines and messages with delimiters are searched byte by byte: a smaller default. */
const defaultMaxDelimitedBytes = 1_048_576;
/** One read of the reactor; a raw frame is never larger. */
const defaultMaxRawBytes = 65_536;
/** A frame's size fits a signed 32-bit integer, as Kafka's. */
const largestMaxFrameBytes = 2_147_483_647;
/** The longest delimiter; the core keeps it inside its framing description. */
export const maxDelimiterBytes = 16;
/** A header (`offset + sizeBytes`) is at most this long; the core peeks at no more. */
const maxHeaderBytes = 255;

/**
 * Frames with a length field, in the generality of Netty's LengthFieldBasedFrameDecoder. Without
 * options: Kafka's frames, a 4-byte big-endian signed size and that many bytes.
 *
 * A frame is `offset` bytes, the length field of `sizeBytes` bytes, then `length + adjustment`
 * bytes. With `sizeBytes` 4 or 8 the field is signed: a negative length closes the connection.
 *
 * @param options.sizeBytes length of the length field: 1, 2, 3, 4 (default) or 8 bytes
 * @param options.endianness `'big'` (default) or `'little'`
 * @param options.offset bytes before the length field (default 0). With an offset above 0 replies
 *   must be framed by the handler: set `frameReplies: false`.
 * @param options.adjustment added to the field's value to get the number of bytes that follow the
 *   field (default 0; `-sizeBytes` where the value counts the field itself)
 * @param options.strip bytes cut off the front of the frame before the handler sees it (default:
 *   the length field if `offset` is 0, else nothing)
 * @param options.maxFrameBytes most bytes that may follow the length field (default 104857600, as
 *   Kafka's `socket.request.max.bytes`)
 * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION`
 */
export function lengthPrefixed(
  options: Partial<Omit<LengthPrefixedFraming, 'kind'>> = {},
): LengthPrefixedFraming {
  checkNames('lengthPrefixed()', options, [
    'sizeBytes',
    'endianness',
    'offset',
    'adjustment',
    'strip',
    'maxFrameBytes',
  ]);
  const sizeBytes = options.sizeBytes ?? 4;
  if (![1, 2, 3, 4, 8].includes(sizeBytes)) {
    throw invalid('lengthPrefixed', 'sizeBytes', '1, 2, 3, 4 or 8', sizeBytes);
  }
  const endianness = options.endianness ?? 'big';
  if (endianness !== 'big' && endianness !== 'little') {
    throw invalid('lengthPrefixed', 'endianness', "'big' or 'little'", endianness);
  }
  const offset = integer('lengthPrefixed', 'offset', options.offset ?? 0, 0, maxHeaderBytes - 8);
  const adjustment = integer(
    'lengthPrefixed',
    'adjustment',
    options.adjustment ?? 0,
    -1_000_000,
    1_000_000,
  );
  const strip = integer(
    'lengthPrefixed',
    'strip',
    options.strip ?? (offset === 0 ? sizeBytes : 0),
    0,
    65_535,
  );
  const maxFrameBytes = maximum('lengthPrefixed', options.maxFrameBytes, defaultMaxFrameBytes);
  return Object.freeze({
    kind: 'lengthPrefixed',
    sizeBytes,
    endianness,
    offset,
    adjustment,
    strip,
    maxFrameBytes,
  });
}

/**
 * Frames with an unsigned LEB128 length of at most 5 bytes (protobuf's delimited streams). The
 * length is cut off before the handler sees the frame.
 *
 * @param options.maxFrameBytes most bytes after the length (default 104857600)
 * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION`
 */
export function varintPrefixed(options: { maxFrameBytes?: number } = {}): VarintPrefixedFraming {
  checkNames('varintPrefixed()', options, ['maxFrameBytes']);
  const maxFrameBytes = maximum('varintPrefixed', options.maxFrameBytes, defaultMaxFrameBytes);
  return Object.freeze({ kind: 'varintPrefixed', maxFrameBytes });
}

/**
 * Frames that end with a delimiter, as lines do. Replies get the delimiter appended.
 *
 * @param delimiter 1 to 16 bytes; a string is taken as UTF-8
 * @param options.strip cut the delimiter off before the handler sees the frame (default true)
 * @param options.maxFrameBytes most bytes before the delimiter (default 1048576)
 * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION`
 */
export function delimited(
  delimiter: string | Uint8Array,
  options: { strip?: boolean; maxFrameBytes?: number } = {},
): DelimitedFraming {
  checkNames('delimited()', options, ['strip', 'maxFrameBytes']);
  const isText = typeof delimiter === 'string';
  if (!isText && !(delimiter instanceof Uint8Array)) {
    throw invalid('delimited', 'delimiter', 'a string or a Uint8Array', delimiter);
  }
  const bytes = isText ? Buffer.from(delimiter, 'utf8') : Buffer.from(delimiter);
  if (bytes.length < 1 || bytes.length > maxDelimiterBytes) {
    throw invalid('delimited', 'delimiter', `1 to ${maxDelimiterBytes} bytes`, delimiter);
  }
  const strip = options.strip ?? true;
  if (typeof strip !== 'boolean') throw invalid('delimited', 'strip', 'a boolean', strip);
  const maxFrameBytes = maximum('delimited', options.maxFrameBytes, defaultMaxDelimitedBytes);
  return Object.freeze({ kind: 'delimited', delimiter: bytes, strip, maxFrameBytes });
}

/**
 * No framing: the handler gets the bytes as they come, in pieces whose borders mean nothing, and
 * its replies leave as they are.
 *
 * @param options.maxFrameBytes largest piece (default and most 65536)
 * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION`
 */
export function raw(options: { maxFrameBytes?: number } = {}): RawFraming {
  checkNames('raw()', options, ['maxFrameBytes']);
  const maxFrameBytes = integer(
    'raw',
    'maxFrameBytes',
    options.maxFrameBytes ?? defaultMaxRawBytes,
    1,
    defaultMaxRawBytes,
  );
  return Object.freeze({ kind: 'raw', maxFrameBytes });
}

/**
 * Frames found by a function, for what the other framings can't say. It runs on the JavaScript
 * thread and sees every unfinished frame again when more bytes come, so prefer a framing of the
 * core where one fits. Replies leave as the handler made them.
 *
 * @param split finds the first frame, see {@link Split}
 * @param options.maxFrameBytes most bytes of one frame in all (default 104857600)
 * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION`
 */
export function custom(split: Split, options: { maxFrameBytes?: number } = {}): CustomFraming {
  checkNames('custom()', options, ['maxFrameBytes']);
  if (typeof split !== 'function') throw invalid('custom', 'split', 'a function', split);
  const maxFrameBytes = maximum('custom', options.maxFrameBytes, defaultMaxFrameBytes);
  return Object.freeze({ kind: 'custom', split, maxFrameBytes });
}

/** Whether `value` was made by one of the functions of this file. */
export function isFraming(value: unknown): value is Framing {
  if (typeof value !== 'object' || value === null || !Object.isFrozen(value)) return false;
  const kind = (value as { kind?: unknown }).kind;
  return (
    kind === 'lengthPrefixed' ||
    kind === 'varintPrefixed' ||
    kind === 'delimited' ||
    kind === 'raw' ||
    kind === 'custom'
  );
}

function maximum(what: string, value: number | undefined, byDefault: number): number {
  return integer(what, 'maxFrameBytes', value ?? byDefault, 1, largestMaxFrameBytes);
}

function integer(what: string, name: string, value: number, least: number, most: number): number {
  return checkInteger(`${name} of ${what}()`, value, least, most);
}

function invalid(what: string, name: string, allowed: string, given: unknown): OdradekError {
  return invalidOption(`${name} of ${what}()`, allowed, given);
}
