// Length-prefixed frames by hand, as fast as JavaScript has them: for the servers whose platform
// knows no frames.
import { answer } from './handler.mjs';

const prefixBytes = 4;
/** What is left of a frame of up to this size is put together with what follows; see below. */
const mostJoinedBytes = 16 * 1024;

/** The frames of one connection. */
export class Framed {
  /** The beginning of a small frame; null if there is none. */
  #rest = null;
  /** The body of a large frame, which is received into memory of its own; null if there is none. */
  #body = null;
  #have = 0;

  /**
   * Answers what is complete now. `write(bytes)` is called once for all requests of the chunk, and
   * `writeLarge(prefix, body)` for a large one that began in an earlier chunk.
   *
   * @param {Buffer} chunk may be used anew by the caller afterwards
   */
  receive(chunk, write, writeLarge) {
    let bytes = chunk;
    if (this.#body !== null) {
      const count = bytes.copy(this.#body, this.#have);
      this.#have += count;
      if (this.#have < this.#body.length) return;
      const reply = answer(this.#body);
      this.#body = null;
      writeLarge(prefixOf(reply), reply);
      if (count === bytes.length) return;
      bytes = bytes.subarray(count);
    } else if (this.#rest !== null) {
      bytes = Buffer.concat([this.#rest, bytes]);
      this.#rest = null;
    }
    const end = answerAll(bytes, write);
    if (end < bytes.length) this.#keep(bytes, end);
  }

  /** Keeps the beginning of a frame. */
  #keep(bytes, at) {
    const left = bytes.length - at;
    const size = left < prefixBytes ? 0 : bytes.readUInt32BE(at);
    if (size <= mostJoinedBytes) {
      this.#rest = Buffer.from(bytes.subarray(at));
      return;
    }
    this.#body = Buffer.allocUnsafeSlow(size);
    this.#have = bytes.copy(this.#body, 0, at + prefixBytes);
  }
}

/** The replies to one chunk. One array serves all: it is used before anything else runs. */
const replies = [];

/** Answers the complete frames in `bytes` by one write; returns where they end. */
function answerAll(bytes, write) {
  const { length } = bytes;
  let at = 0;
  let count = 0;
  let size = 0;
  while (at + prefixBytes <= length) {
    const end = at + prefixBytes + bytes.readUInt32BE(at);
    if (end > length) break;
    const reply = answer(bytes.subarray(at + prefixBytes, end));
    replies[count++] = reply;
    size += prefixBytes + reply.length;
    at = end;
  }
  if (count > 0) write(joined(count, size));
  return at;
}

function joined(count, size) {
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const reply = replies[i];
    at = bytes.writeUInt32BE(reply.length, at);
    bytes.set(reply, at);
    at += reply.length;
  }
  return bytes;
}

function prefixOf(reply) {
  const prefix = Buffer.allocUnsafe(prefixBytes);
  prefix.writeUInt32BE(reply.length, 0);
  return prefix;
}
