import { performance } from 'node:perf_hooks';
import type { CloseCode } from './close-reason.js';
import {
  shortestTimeout,
  type Timeouts,
  type Wait,
  waitForRequest,
  waitForRestOfFrame,
  waitForRoom,
  worthMs,
} from './timeouts.js';

/** What the client has to do next. */
export type Awaited = 'request' | 'restOfFrame' | 'roomToWrite';

/** A connection whose client may be waited for. */
export interface Expirable {
  /**
   * By the clock of {@link Expiry.now}: when what it waits for has begun, or has last gone on; for room, at
   * a rate: up to when the client has paid by what it took.
   */
  since: number;
  /** What its client is waited for; `null`: the server is at work, or closes it. Asked in each look. */
  awaited(): Awaited | null;
  /** How many bytes of a frame have come, of which more are awaited. */
  readonly heldBytes: number;
  /** For how long since `since` it was not read, though it went on to be waited for. */
  readonly unreadMs: number;
  /** It was waited for too long. */
  expire(code: CloseCode): void;
}

/** Looks in the shortest time-out, and the most and the fewest milliseconds between two of them. */
const looksPerTimeout = 16;
const longestPauseMs = 1000;
const shortestPauseMs = 5;

/**
 * Closes connections whose clients leave the server waiting for too long: one timer looks at all of
 * them. Its clock counts the time in which the event loop was there to look, so that nobody is closed for
 * what has come while the loop was blocked, and stands in the kernel.
 */
export class Expiry<Connection extends Expirable> {
  readonly #connections: Iterable<Connection>;
  #timeouts: Timeouts;
  #pauseMs: number;
  readonly #clock: () => number;
  #now = 0;
  #lookedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #check: NodeJS.Immediate | undefined;

  /** @param clock milliseconds of a clock that goes on while the event loop is blocked */
  constructor(
    timeouts: Timeouts,
    connections: Iterable<Connection>,
    clock = (): number => performance.now(),
  ) {
    this.#clock = clock;
    this.#connections = connections;
    this.#timeouts = timeouts;
    this.#pauseMs = pauseFor(timeouts);
  }

  /** Goes for what is waited for already, too. */
  update(timeouts: Timeouts): void {
    const isLooking = this.#timer !== undefined;
    this.stop();
    this.#timeouts = timeouts;
    this.#pauseMs = pauseFor(timeouts);
    if (isLooking) this.start();
  }

  /** The client, waited for since `since`, has taken bytes, and not all: is it waited for since then? */
  paid(since: number, bytes: number): number {
    const { minWriteBytesPerSecond: rate } = this.#timeouts;
    return rate === 0 ? this.#now : Math.min(since + worthMs(bytes, rate), this.#now);
  }

  /** Milliseconds, behind by one pause at most. */
  get now(): number {
    return this.#now;
  }

  /** There are connections. */
  start(): void {
    if (this.#pauseMs === 0 || this.#timer !== undefined) return;
    this.#lookedAt = this.#clock();
    this.#timer = setInterval(() => this.#look(), this.#pauseMs).unref();
  }

  /** There are none. */
  stop(): void {
    clearInterval(this.#timer);
    clearImmediate(this.#check);
    this.#timer = undefined;
  }

  #look(): void {
    const at = this.#clock();
    // A timer that comes late says that nobody has read either.
    this.#now += Math.min(at - this.#lookedAt, 2 * this.#pauseMs);
    this.#lookedAt = at;
    // After the sockets were polled: what has come in time counts.
    this.#check = setImmediate(() => this.#closeExpired());
  }

  #closeExpired(): void {
    for (const connection of [...this.#connections]) {
      const awaited = connection.awaited();
      if (awaited === null) continue;
      const { ms, code } = this.#waitFor(awaited, connection);
      // The clock may have been behind by a pause when it began.
      const isOver = this.#now - connection.since > ms + this.#pauseMs;
      if (ms > 0 && isOver) connection.expire(code);
    }
  }

  #waitFor(awaited: Awaited, { heldBytes, unreadMs }: Connection): Wait {
    switch (awaited) {
      case 'request':
        return waitForRequest(this.#timeouts);
      case 'restOfFrame':
        return waitForRestOfFrame(this.#timeouts, heldBytes, unreadMs);
      case 'roomToWrite':
        return waitForRoom(this.#timeouts);
    }
  }
}

/** Between two looks; 0: there is nothing to look for. */
function pauseFor(timeouts: Timeouts): number {
  const shortestMs = shortestTimeout(timeouts);
  if (shortestMs === Infinity) return 0;
  const pauseMs = Math.floor(shortestMs / looksPerTimeout);
  return Math.max(shortestPauseMs, Math.min(pauseMs, longestPauseMs));
}
