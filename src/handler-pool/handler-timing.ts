import type { ServerConnection } from '../connection.js';
import type { ServerRequest } from '../request.js';
import type { HandlerTimes } from '../request-times.js';
import { SharedClock } from './shared-clock.js';

/** Handlers that are timed together at most. */
const longestStretch = 16;

/** From how many milliseconds for each on they are timed one by one. */
const slowMs = 0.02;

/**
 * When handlers begin and return. To read the clock may take longer than a handler. So the end of one
 * is the beginning of the next; and requests of one connection that came together and are answered at
 * once, one right behind the other, are timed as one stretch while that is quick: each counts their
 * average. Where handlers return promises, many moments share a reading.
 */
export class HandlerTiming<State> {
  readonly times: HandlerTimes;
  readonly #onRead: (now: number) => void;
  readonly #clock = new SharedClock();
  /** When the clock was read last. */
  #at = 0;
  /** Nothing but handlers has run since. */
  #isFresh = false;
  /** Of which connection handlers have begun since, for requests received when. */
  #connection: ServerConnection<State> | null = null;
  #receivedAt = 0;
  /** How many have, and how many may before the clock is read. */
  #count = 0;
  #most = longestStretch;

  /** @param onRead whatever was answered so far was answered at this moment */
  constructor(times: HandlerTimes, onRead: (now: number) => void) {
    this.times = times;
    this.#onRead = onRead;
  }

  begin({ connection, receivedAt }: ServerRequest<State>): void {
    const goesOn = connection === this.#connection && receivedAt === this.#receivedAt;
    if (!goesOn || this.#count >= this.#most) this.#beginStretch(connection, receivedAt);
    this.#count++;
  }

  #beginStretch(connection: ServerConnection<State>, receivedAt: number): void {
    if (!this.#isFresh || this.#count > 0) this.read();
    this.#connection = connection;
    this.#receivedAt = receivedAt;
  }

  /** The handlers that have begun have returned. What time it is. */
  read(): number {
    return this.#pass(this.#clock.read());
  }

  /** The same where promises are at work, of which many may be quick: see {@link SharedClock}. */
  look(): number {
    return this.#pass(this.#clock.now());
  }

  #pass(now: number): number {
    if (this.#count > 0) this.#record(now);
    this.#at = now;
    this.#isFresh = true;
    this.#onRead(now);
    return now;
  }

  #record(now: number): void {
    const count = this.#count;
    const each = (now - this.#at) / count;
    const waited = this.#at - this.#receivedAt + (each * (count - 1)) / 2;
    this.times.requestQueue.record(waited, count);
    this.times.local.record(each, count);
    this.#most = each > slowMs ? 1 : longestStretch;
    this.#count = 0;
  }

  /** Something else runs from here on. */
  pause(): void {
    if (this.#count > 0) this.read();
    this.#connection = null;
    this.#isFresh = false;
  }

  /** All promises that could go on have. */
  rest(): void {
    this.pause();
    this.#clock.rest();
  }
}
