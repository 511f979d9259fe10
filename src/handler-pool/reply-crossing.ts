import { closeConnection, noReply, type Reply, replyAndClose, takeReplyApart } from '../reply.js';
import { ownBytes } from './own-bytes.js';

/** A reply in a form that `postMessage` takes. */
export interface PackedReply {
  readonly bytes: Uint8Array | null;
  /** Close the connection behind it. */
  readonly close: boolean;
}

/** Takes a handler's value for its way to another thread, or throws `ERR_ODRADEK_INVALID_REPLY`. */
export function packReply(value: unknown): {
  readonly reply: PackedReply;
  readonly transferList: readonly ArrayBuffer[];
} {
  const { bytes, close } = takeReplyApart(value);
  if (bytes === null) return { reply: { bytes, close }, transferList: [] };
  const own = ownBytes(bytes instanceof Uint8Array ? [bytes] : bytes);
  return { reply: { bytes: own.bytes, close }, transferList: own.transferList };
}

/** The reply on this side. */
export function unpackReply({ bytes, close }: PackedReply): Reply {
  if (bytes === null) return close ? closeConnection : noReply;
  return close ? replyAndClose(bytes) : bytes;
}
