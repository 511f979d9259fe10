import { performance } from 'node:perf_hooks';
import type { CloseCode } from './close-reason.js';
import type { Timeouts } from './timeouts.js';

/** What a connection waits for: the limit that says for how long, and what closes it then. */
export interface Wait {
  readonly limit: keyof Timeouts;
  readonly code: CloseCode;
}

/** A connection whose client may be waited for. */
export interface Expirable {
  /** By the clock of {@link Expiry.now}: when what it waits for has begun, or has last gone on. */
  since: number;
  /** What its client is waited for; `null`: the server is at work, or closes it. Asked in each look. */
  awaited(): Wait | null;
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
      const wait = connection.awaited();
      if (wait === null) continue;
      const timeoutMs = this.#timeouts[wait.limit];
      // The clock may have been behind by a pause when it began.
      const isOver = this.#now - connection.since > timeoutMs + this.#pauseMs;
      if (timeoutMs > 0 && isOver) connection.expire(wait.code);
    }
  }
}

/** Between two looks; 0: there is nothing to look for. */
function pauseFor(timeouts: Timeouts): number {
  const inUse = Object.values(timeouts).filter((ms) => ms > 0);
  if (inUse.length === 0) return 0;
  const pauseMs = Math.floor(Math.min(...inUse) / looksPerTimeout);
  return Math.max(shortestPauseMs, Math.min(pauseMs, longestPauseMs));
}
