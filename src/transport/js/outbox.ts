import { lengthOf } from '../../reply.js';
import type { ReplyFramer } from '../../reply-framer.js';
import { ownReplyBytes, replySlabBytes } from './bounds.js';

/**
 * Memory for small replies, shared by all connections of a transport. The kernel takes most
 * replies inside the flush that writes them, and so one slab serves again and again.
 */
export class ReplySlab {
  bytes = Buffer.allocUnsafeSlow(replySlabBytes);
  used = 0;
  /** What is used stays as it is, until this memory is full and other takes its place. */
  #pinned = false;

  /** Makes room for `count` bytes behind `used`. */
  reserve(count: number): void {
    if (this.bytes.length - this.used >= count) return;
    this.bytes = Buffer.allocUnsafeSlow(replySlabBytes);
    this.used = 0;
    this.#pinned = false;
  }

  /** Some of the bytes wait for a slow reader. */
  pin(): void {
    this.#pinned = true;
  }

  /** Every reply was given to the kernel, or is in pinned memory: begin from the front again. */
  rewind(): void {
    if (!this.#pinned) this.used = 0;
  }
}

/**
 * Replies of one connection that wait for the next write, framed and copied: a program may change
 * the bytes that it gave as soon as the call returns.
 */
export class Outbox {
  readonly #slab: ReplySlab;
  /** Bytes that were added and not taken. */
  length = 0;
  #parts: Buffer[] = [];
  /** The last part, still growing: `#slabBytes` from `#start` to `#end`. */
  #slabBytes: Buffer | null = null;
  #start = 0;
  #end = 0;

  constructor(slab: ReplySlab) {
    this.#slab = slab;
  }

  get isEmpty(): boolean {
    return this.#parts.length === 0 && this.#slabBytes === null;
  }

  /** Adds a reply. Throws a RangeError where memory for it is refused. */
  add(framer: ReplyFramer, reply: Uint8Array | readonly Uint8Array[]): void {
    const body = lengthOf(reply);
    const most = framer.maxHeaderBytes + body + framer.trailer.length;
    if (most === 0) return;
    if (most >= ownReplyBytes) {
      const bytes = Buffer.allocUnsafeSlow(most);
      const end = put(bytes, 0, framer, reply, body);
      this.#seal();
      this.#parts.push(bytes.subarray(0, end));
      this.length += end;
      return;
    }
    const slab = this.#slab;
    slab.reserve(most);
    const start = slab.used;
    const end = put(slab.bytes, start, framer, reply, body);
    slab.used = end;
    this.length += end - start;
    if (this.#slabBytes !== slab.bytes || this.#end !== start) {
      this.#seal();
      this.#slabBytes = slab.bytes;
      this.#start = start;
    }
    this.#end = end;
  }

  /** Takes everything, as parts in their order. */
  take(): Buffer[] {
    this.#seal();
    const parts = this.#parts;
    this.#parts = [];
    this.length = 0;
    return parts;
  }

  #seal(): void {
    if (this.#slabBytes === null) return;
    this.#parts.push(this.#slabBytes.subarray(this.#start, this.#end));
    this.#slabBytes = null;
  }
}

/** Writes a framed reply at `start` and returns its end. */
function put(
  target: Buffer,
  start: number,
  framer: ReplyFramer,
  reply: Uint8Array | readonly Uint8Array[],
  length: number,
): number {
  let at = start + framer.writeHeader(target, start, length);
  if (reply instanceof Uint8Array) {
    at = putBytes(target, at, reply);
  } else {
    for (const part of reply) at = putBytes(target, at, part);
  }
  return putBytes(target, at, framer.trailer);
}

/** Bytes whose memory was transferred away have length 0, and copying them would throw. */
function putBytes(target: Buffer, at: number, bytes: Uint8Array): number {
  if (bytes.byteLength > 0) target.set(bytes, at);
  return at + bytes.byteLength;
}
