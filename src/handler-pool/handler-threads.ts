import { performance } from 'node:perf_hooks';
import { OdradekError } from '../errors.js';
import type { HandlerThreadCounts } from '../metrics.js';
import type { HandlerTimes } from '../request-times.js';
import type { HandlerPoolSettings } from './handler-pool-options.js';
import { HandlerSeat } from './handler-seat.js';
import type { HandlerLinks, HandlerThreadsEvents } from './thread-protocol.js';
import { ThreadTimes } from './thread-times.js';

/** Pings in the time that a thread may be silent: a blocked one is found a quarter late at most. */
const pingsPerTimeout = 4;

/** What a thread that leaves in order may take for its `teardown`, where nothing else bounds it. */
const teardownMs = 5000;

/**
 * Kafka's KafkaRequestHandlerPool on worker threads: starts them, replaces those that are lost, and
 * changes their number. It knows nothing of requests: a transport's {@link HandlerLinks} do.
 */
export class HandlerThreads {
  readonly #settings: HandlerPoolSettings;
  readonly #timeoutMs: number;
  readonly #links: HandlerLinks;
  readonly #events: HandlerThreadsEvents;
  readonly #times = new ThreadTimes();
  /** By number. */
  #seats: HandlerSeat[] = [];
  /** Those that the pool has no more, and that are not gone yet. */
  readonly #leaving = new Set<HandlerSeat>();
  #resizing: Promise<void> = Promise.resolve();
  #pinging: NodeJS.Timeout | undefined;
  #isHeld = true;
  #isOver = false;

  constructor(
    settings: HandlerPoolSettings,
    handlerTimeoutMs: number,
    links: HandlerLinks,
    events: HandlerThreadsEvents,
  ) {
    this.#settings = settings;
    this.#timeoutMs = handlerTimeoutMs;
    this.#links = links;
    this.#events = events;
  }

  /** Loads every thread; or ends them all and rejects with `ERR_ODRADEK_HANDLER_MODULE`. */
  async start(): Promise<void> {
    this.#seats = await this.#load(0, this.#settings.threads);
  }

  /** The transport has started: lets the threads take requests. Resolves when they do. */
  async attach(): Promise<void> {
    const attached = this.#seats.map((seat) => seat.open());
    if (this.#timeoutMs > 0) {
      const everyMs = Math.max(1, Math.floor(this.#timeoutMs / pingsPerTimeout));
      this.#pinging = setInterval(() => this.#ping(), everyMs).unref();
    }
    await Promise.all(attached);
  }

  #ping(): void {
    const now = performance.now();
    for (const seat of [...this.#seats, ...this.#leaving]) seat.check(now, this.#timeoutMs);
  }

  /** Loads threads with these numbers, or none of them. */
  async #load(from: number, to: number): Promise<HandlerSeat[]> {
    if (this.#isOver) throw superseded();
    const seats: HandlerSeat[] = [];
    for (let thread = from; thread < to; thread++) {
      seats.push(new HandlerSeat(thread, this.#settings, this.#links, this.#times, this.#events));
    }
    for (const seat of seats) this.#leaving.add(seat);
    try {
      await Promise.all(seats.map((seat) => seat.load(this.#isHeld)));
      if (this.#isOver) throw superseded();
    } catch (error) {
      await this.#stop(seats, teardownMs);
      throw error;
    }
    for (const seat of seats) this.#leaving.delete(seat);
    return seats;
  }

  /** Changes the number of threads; calls are served one after the other. */
  resize(threads: number): Promise<void> {
    const resized = this.#resizing.then(() => this.#resize(threads));
    this.#resizing = resized.catch(() => undefined);
    return resized;
  }

  async #resize(threads: number): Promise<void> {
    if (this.#isOver) throw superseded();
    const count = this.#seats.length;
    if (threads > count) {
      const seats = await this.#load(count, threads);
      this.#seats.push(...seats);
      await Promise.all(seats.map((seat) => seat.open()));
      if (this.#isOver) throw superseded();
    } else if (threads < count) {
      await this.#shrink(this.#seats.splice(threads));
      if (this.#isOver) throw superseded();
    }
  }

  /** Threads answer what they have, and go. */
  async #shrink(seats: readonly HandlerSeat[]): Promise<void> {
    for (const seat of seats) this.#leaving.add(seat);
    const gone = seats.map(async (seat) => {
      await seat.retire();
      await this.#stop([seat], teardownMs);
    });
    await Promise.all(gone);
  }

  async #stop(seats: readonly HandlerSeat[], graceMs: number): Promise<void> {
    await Promise.all(seats.map((seat) => seat.stop(graceMs, this.#isHeld)));
    for (const seat of seats) this.#leaving.delete(seat);
  }

  /** Ends every thread; supersedes a start or a resize under way. */
  async stop(graceMs: number): Promise<void> {
    this.#isOver = true;
    clearInterval(this.#pinging);
    await this.#stop([...this.#seats, ...this.#leaving], graceMs);
    await this.#resizing;
  }

  /** Whether threads that start or end keep the process alive; those at work never do. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
  }

  /** Adds what all threads so far have recorded. */
  addTimesTo(sum: HandlerTimes): void {
    this.#times.addTo(sum);
  }

  metrics(): HandlerThreadCounts[] {
    return this.#seats.map((seat) => seat.metrics());
  }
}

function superseded(): OdradekError {
  return new OdradekError('ERR_ODRADEK_INVALID_STATE', 'the server was closed meanwhile');
}
