import { markAsUntransferable } from 'node:worker_threads';
import { FrameError, type FrameFinder, found, makeFrameFinder, more } from './frame-finder.js';
import type { Framing } from './framing.js';

/** How much more than a body's own bytes a kept body may keep in memory: one read of Node's. */
const maxSpareBytes = 65_536;

/**
 * A frame gets its memory at once up to here. A larger one grows to it, so that a prefix alone
 * can't make the server hold a maximal frame.
 */
const firstFrameBytes = 65_536;

/** A growing frame gets this many times the bytes that have come: moving it stays cheap. */
const frameGrowth = 4;

/** Where a frame lies as it came, and what of it the handler sees. */
export interface DecodedFrame {
  readonly body: Buffer;
  readonly memory: ArrayBufferLike;
  readonly offset: number;
  readonly length: number;
}

const nothing = Buffer.alloc(0);

/**
 * Cuts one connection's bytes into frames, one at a time and only when asked.
 *
 * A frame that lies within one read is a view of it. One that doesn't is put together in memory of
 * its own: each byte is moved there once, and about once more where the frame is large and its
 * memory grows. Bytes under a frame are never written again.
 */
export class FrameDecoder {
  /** What broke the framing. Nothing is found any more, unless {@link restart} tries anew. */
  failure: FrameError | null = null;
  /** Bytes that no frame has taken. */
  bytes = 0;
  readonly #isolate: boolean;
  #finder: FrameFinder;
  /** The unread bytes are `#head` from `#at` to `#end`, then the chunks of `#tail`. */
  #head: Buffer = nothing;
  #at = 0;
  #end = 0;
  /** `#head` was made here and has room behind `#end`. */
  #grows = false;
  #tail: Buffer[] = [];
  #found = false;
  /** As many bytes in a row does it take to see further; {@link more}: any number. */
  #needed = 1;

  constructor(framing: Framing, isolateBodies: boolean) {
    this.#finder = makeFrameFinder(framing);
    this.#isolate = isolateBodies;
  }

  /** No byte is left, not even of an incomplete frame. */
  get isEmpty(): boolean {
    return this.bytes === 0;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.bytes += chunk.length;
    this.#tail.push(chunk);
  }

  /** Whether a complete frame is there to be taken. Sets {@link failure} on bytes that break. */
  find(): boolean {
    if (this.#found) return true;
    if (this.failure !== null) return false;
    try {
      while (this.#gather()) {
        this.#needed = this.#finder.find(this.#head, this.#at, this.#end);
        if (this.#needed === found) {
          this.#found = true;
          return true;
        }
      }
    } catch (error) {
      this.failure = error instanceof FrameError ? error : refused(error);
    }
    return false;
  }

  /** Takes the frame that {@link find} found. */
  take(): DecodedFrame {
    const { length, bodyStart, bodyEnd } = this.#finder.frame;
    const at = this.#at;
    const body = this.#head.subarray(at + bodyStart, at + bodyEnd);
    const { buffer: memory, byteOffset } = this.#head;
    this.#at += length;
    this.bytes -= length;
    this.#lookAgain();
    if (this.#at === this.#end) this.#dropHead();
    return {
      body: this.#isolate ? isolated(body) : fitting(body),
      memory,
      offset: byteOffset + at,
      length,
    };
  }

  /** Goes on with another framing, with `frames` (taken before) in front of what is unread. */
  restart(framing: Framing, frames: readonly Buffer[]): void {
    const unread = this.#head.subarray(this.#at, this.#end);
    this.#tail = [...frames, unread, ...this.#tail].filter((chunk) => chunk.length > 0);
    for (const frame of frames) this.bytes += frame.length;
    this.#dropHead();
    this.#finder = makeFrameFinder(framing);
    this.failure = null;
    this.#lookAgain();
  }

  /** Takes every byte that no frame has taken. */
  takeRest(): Buffer {
    const rest = Buffer.concat([this.#head.subarray(this.#at, this.#end), ...this.#tail]);
    this.clear();
    return rest;
  }

  /** Forgets every byte. */
  clear(): void {
    this.bytes = 0;
    this.#tail = [];
    this.#dropHead();
    this.#lookAgain();
  }

  #lookAgain(): void {
    this.#finder.reset();
    this.#found = false;
    this.#needed = 1;
  }

  #dropHead(): void {
    this.#head = nothing;
    this.#at = 0;
    this.#end = 0;
    this.#grows = false;
  }

  /** Makes the needed bytes lie in a row in the head. False while they have not all come. */
  #gather(): boolean {
    const have = this.#end - this.#at;
    const needed = this.#needed === more ? have + 1 : this.#needed;
    while (this.#end - this.#at < needed) {
      const chunk = this.#tail[0];
      if (chunk === undefined) return false;
      if (this.#at === this.#end) {
        this.#head = this.#shared(chunk);
        this.#at = 0;
        this.#end = chunk.length;
        this.#tail.shift();
      } else {
        this.#append(chunk);
      }
    }
    return true;
  }

  /** Moves what the frame needs of the first chunk of the tail behind the head's bytes. */
  #append(chunk: Buffer): void {
    const have = this.#end - this.#at;
    const wanted = this.#needed === more ? chunk.length : this.#needed - have;
    const count = Math.min(wanted, chunk.length);
    if (!this.#grows || this.#head.length - this.#end < count) this.#grow(have, count);
    chunk.copy(this.#head, this.#end, 0, count);
    this.#end += count;
    if (count === chunk.length) this.#tail.shift();
    else this.#tail[0] = chunk.subarray(count);
  }

  #grow(have: number, count: number): void {
    const bytes = this.#shared(Buffer.allocUnsafeSlow(this.#capacity(have + count)));
    this.#head.copy(bytes, 0, this.#at, this.#end);
    this.#head = bytes;
    this.#at = 0;
    this.#end = have;
    this.#grows = true;
  }

  /** Bodies will share these bytes: a program that transfers one away must not take the others. */
  #shared(bytes: Buffer): Buffer {
    if (!this.#isolate) markAsUntransferable(bytes.buffer);
    return bytes;
  }

  #capacity(least: number): number {
    const needed = this.#needed;
    if (needed === more) return Math.max(2 * least, 1024);
    if (needed <= firstFrameBytes) return needed;
    return Math.min(needed, Math.max(firstFrameBytes, frameGrowth * least));
  }
}

/** `body`, or a copy where it would keep much more memory than its own alive. */
function fitting(body: Buffer): Buffer {
  if (body.buffer.byteLength - body.length <= maxSpareBytes) return body;
  return isolated(body);
}

function isolated(body: Buffer): Buffer {
  return Buffer.from(new Uint8Array(body).buffer);
}

/** The engine throws a RangeError where it can't have the memory. */
function refused(error: unknown): FrameError {
  return new FrameError('OUT_OF_MEMORY', error instanceof Error ? error.message : String(error));
}
