import type { CloseCode } from '../close-reason.js';
import {
  type Answer,
  closeConnection,
  noReply,
  overloaded,
  replyAndClose,
  takeReplyApart,
} from '../reply.js';
import { ownBytes } from './own-bytes.js';

/** A reply in a form that `postMessage` takes. */
export interface PackedReply {
  readonly bytes: Uint8Array | null;
  /** Why to close the connection behind it. */
  readonly closeCode: CloseCode | null;
}

/** Takes a handler's value for its way to another thread, or throws `ERR_ODRADEK_INVALID_REPLY`. */
export function packReply(value: unknown): {
  readonly reply: PackedReply;
  readonly transferList: readonly ArrayBuffer[];
} {
  const { bytes, closeCode } = takeReplyApart(value);
  if (bytes === null) return { reply: { bytes, closeCode }, transferList: [] };
  const own = ownBytes(bytes instanceof Uint8Array ? [bytes] : bytes);
  return { reply: { bytes: own.bytes, closeCode }, transferList: own.transferList };
}

/** The reply on this side. */
export function unpackReply({ bytes, closeCode }: PackedReply): Answer {
  if (closeCode === 'OVERLOADED') return overloaded;
  if (bytes === null) return closeCode === null ? noReply : closeConnection;
  return closeCode === null ? bytes : replyAndClose(bytes);
}
