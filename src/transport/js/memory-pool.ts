import { performance } from 'node:perf_hooks';
import { LoopTurn } from '../../loop-turn.js';
import { memoryStallMs, resumesPerTurn } from './bounds.js';

/** A connection, as far as the pool is concerned. */
export interface MemoryUser {
  /** It is not read: the pool has nothing left for it. */
  waitingForMemory: boolean;
  /** Bytes of a frame are here, and not all of them. */
  readonly isPartial: boolean;
  /** No frame of it is larger. */
  readonly mostFrameBytes: number;
  /** Less is left: it may have to stop reading. */
  checkMemory(): void;
  /** The pool may have something for it. */
  memoryFreed(): void;
}

/**
 * Kafka's MemoryPool: bytes of requests that the server has in its hands. The core's, in the words of
 * `node:net`, which reads a chunk and then tells of it: so the pool may be overdrawn by a chunk (64
 * KiB) besides the frame that goes on. What a paused socket has to read nobody knows: all parts of
 * frames may go on until one does, and that one has the turn until it is whole, or stalls.
 */
export class MemoryPool {
  size: number;
  used = 0;
  readonly #users: Iterable<MemoryUser>;
  /** Since when each waits; longest waiting first. */
  readonly #waiting = new Map<MemoryUser, number>();
  #overdrawing: MemoryUser | null = null;
  #stall: NodeJS.Timeout | undefined;
  #depletedMs = 0;
  #depletedSince = 0;
  readonly #later = new LoopTurn(() => this.#resume());

  /** @param users everybody who may have to stop reading */
  constructor(size: number, users: Iterable<MemoryUser>) {
    this.size = size;
    this.#users = users;
  }

  get available(): number {
    return this.size - this.used;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Since when the longest waiting waits, on `performance.now()`'s scale; Infinity: none. */
  get waitsSince(): number {
    const [since = Infinity] = this.#waiting.values();
    return since;
  }

  get depletedMs(): number {
    if (this.available > 0) return this.#depletedMs;
    return this.#depletedMs + performance.now() - this.#depletedSince;
  }

  /** Whether it may be read. */
  admits(user: MemoryUser): boolean {
    if (this.available > 0) return true;
    const isItsTurn = this.#overdrawing === null || this.#overdrawing === user;
    return isItsTurn && user.isPartial && -this.available < user.mostFrameBytes;
  }

  wait(user: MemoryUser): void {
    user.waitingForMemory = true;
    if (!this.#waiting.has(user)) this.#waiting.set(user, performance.now());
  }

  stopWaiting(user: MemoryUser): void {
    user.waitingForMemory = false;
    this.#waiting.delete(user);
    if (this.#overdrawing === user) this.#passOn();
  }

  /** Bytes were read; {@link settle} comes when they were looked at. */
  take(bytes: number): void {
    this.#change(this.used + bytes, this.size);
  }

  /** What `user` has read was looked at: who may go on, now that less is left? */
  settle(user: MemoryUser): void {
    if (this.available > 0) return;
    if (!user.isPartial) {
      if (this.#overdrawing === user) this.#passOn();
    } else if (this.#overdrawing === null || this.#overdrawing === user) {
      this.#overdrawing = user;
      clearTimeout(this.#stall);
      this.#stall = setTimeout(() => this.#passOn(), memoryStallMs).unref();
    }
    for (const other of this.#users) other.checkMemory();
  }

  /** Bytes come back. */
  give(bytes: number): void {
    this.#change(this.used - bytes, this.size);
    this.#goOn();
  }

  resize(size: number): void {
    this.#change(this.used, size);
    this.#goOn();
  }

  #change(used: number, size: number): void {
    const wasDepleted = this.available <= 0;
    this.used = used;
    this.size = size;
    const isDepleted = this.available <= 0;
    if (wasDepleted === isDepleted) return;
    if (isDepleted) this.#depletedSince = performance.now();
    else this.#depletedMs += performance.now() - this.#depletedSince;
  }

  hold(isHeld: boolean): void {
    this.#later.hold(isHeld);
  }

  clear(): void {
    this.#later.forget();
    clearTimeout(this.#stall);
    this.#overdrawing = null;
    this.#waiting.clear();
  }

  #goOn(): void {
    if (this.#waiting.size > 0) this.#later.ask();
  }

  #passOn(): void {
    this.#overdrawing = null;
    clearTimeout(this.#stall);
    this.#goOn();
  }

  /** Some at a time, so that those that have waited longest are read first. */
  #resume(): void {
    let left = resumesPerTurn;
    for (const user of this.#waiting.keys()) {
      if (left === 0) break;
      if (!this.admits(user)) continue;
      left--;
      this.#waiting.delete(user);
      user.waitingForMemory = false;
      user.memoryFreed();
    }
    if (left === 0) this.#goOn();
  }
}
