import type { CloseCode } from './close-reason.js';
import { describe, OdradekError } from './errors.js';

/**
 * What a handler answers: bytes, bytes in parts (gathered, framed once), or one of
 * {@link noReply}, {@link closeConnection} and {@link replyAndClose}.
 */
export type Reply = Uint8Array | readonly Uint8Array[] | NoReply | CloseConnection | ReplyAndClose;

/** What {@link noReply} is. */
export class NoReply {
  /** Tells it from other replies. */
  readonly kind = 'noReply';
}

/** What {@link closeConnection} is. */
export class CloseConnection {
  /** Tells it from other replies. */
  readonly kind = 'closeConnection';
}

/** What {@link replyAndClose} makes. */
export class ReplyAndClose {
  /** Tells it from other replies. */
  readonly kind = 'replyAndClose';
  /** The reply. */
  readonly bytes: Uint8Array | readonly Uint8Array[];

  constructor(bytes: Uint8Array | readonly Uint8Array[]) {
    this.bytes = bytes;
  }
}

/** The request gets no reply and its place in the order is settled (Kafka's acks=0). */
export const noReply: NoReply = Object.freeze(new NoReply());

/** Close the connection without a reply, after all earlier replies have left. */
export const closeConnection: CloseConnection = Object.freeze(new CloseConnection());

class Overloaded {
  readonly kind = 'overloaded';
}

/** What a refused request gets where no `onOverload` answers it. Not for handlers. */
export const overloaded: Overloaded = Object.freeze(new Overloaded());

/** What becomes of a request: what its handler says, or that nobody does. */
export type Answer = Reply | Overloaded;

/** Reply with `bytes`, then close the connection in order: the client reads the reply, then EOF. */
export function replyAndClose(bytes: Uint8Array | readonly Uint8Array[]): ReplyAndClose {
  if (!isBytes(bytes)) throw invalidReply(bytes);
  return Object.freeze(new ReplyAndClose(bytes));
}

/** A reply taken apart: the bytes to send (`null`: none), and why to close after them (`null`: not). */
export interface ReplyParts {
  readonly bytes: Uint8Array | readonly Uint8Array[] | null;
  readonly closeCode: CloseCode | null;
}

const nothing: ReplyParts = Object.freeze({ bytes: null, closeCode: null });
const nothingAndClose: ReplyParts = Object.freeze({ bytes: null, closeCode: 'CLOSED_BY_HANDLER' });
const refused: ReplyParts = Object.freeze({ bytes: null, closeCode: 'OVERLOADED' });

/** Takes a handler's value apart, or throws `ERR_ODRADEK_INVALID_REPLY`. */
export function takeReplyApart(value: unknown): ReplyParts {
  if (value === noReply) return nothing;
  if (value === closeConnection) return nothingAndClose;
  if (value instanceof ReplyAndClose) {
    return { bytes: value.bytes, closeCode: 'CLOSED_BY_HANDLER' };
  }
  if (isBytes(value)) return { bytes: value, closeCode: null };
  if (value === overloaded) return refused;
  throw invalidReply(value);
}

/** How many bytes they are together. */
export function lengthOf(bytes: Uint8Array | readonly Uint8Array[]): number {
  // Not `byteLength`, which costs a call where `length` is a load (Node 20).
  if (bytes instanceof Uint8Array) return bytes.length;
  let length = 0;
  for (const part of bytes) length += part.length;
  return length;
}

export function isBytes(value: unknown): value is Uint8Array | readonly Uint8Array[] {
  if (value instanceof Uint8Array) return true;
  return Array.isArray(value) && value.every((part) => part instanceof Uint8Array);
}

function invalidReply(value: unknown): OdradekError {
  const hint = value === undefined ? ' (return noReply to answer nothing)' : '';
  return new OdradekError(
    'ERR_ODRADEK_INVALID_REPLY',
    `expected a Uint8Array, an array of them, noReply, closeConnection or replyAndClose(), ` +
      `got ${describe(value)}${hint}`,
  );
}
