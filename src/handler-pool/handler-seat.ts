import { performance } from 'node:perf_hooks';
import { OdradekError } from '../errors.js';
import type { HandlerThreadCounts } from '../metrics.js';
import { BackOff } from './back-off.js';
import type { HandlerPoolSettings } from './handler-pool-options.js';
import { HandlerThread } from './handler-thread.js';
import type { HandlerLink, HandlerLinks, HandlerThreadsEvents } from './thread-protocol.js';
import type { ThreadTimes } from './thread-times.js';

/** One place of the pool: its thread, and those that replace it. */
export class HandlerSeat {
  readonly thread: number;
  readonly #settings: HandlerPoolSettings;
  readonly #links: HandlerLinks;
  readonly #times: ThreadTimes;
  readonly #events: HandlerThreadsEvents;
  readonly #backOff = new BackOff();
  #worker: HandlerThread | null = null;
  #link: HandlerLink | null = null;
  /** The thread has loaded, and nobody has lost it. */
  #isLoaded = false;
  /** The transport has started: a thread takes requests as soon as it has loaded. */
  #isOpen = false;
  /** Of the threads before this one. */
  #startedBefore = 0;
  #restarts = 0;
  #spawnedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  /** The last one that was blocked may still be on its way out. */
  #terminated: Promise<void> = Promise.resolve();
  /** It is not replaced any more. */
  #isOver = false;
  /** Its `teardown` may take its time. */
  #isStopping = false;

  constructor(
    thread: number,
    settings: HandlerPoolSettings,
    links: HandlerLinks,
    times: ThreadTimes,
    events: HandlerThreadsEvents,
  ) {
    this.thread = thread;
    this.#settings = settings;
    this.#links = links;
    this.#times = times;
    this.#events = events;
  }

  /** Starts the first thread. Rejects with `ERR_ODRADEK_HANDLER_MODULE`. */
  async load(isHeld: boolean): Promise<void> {
    const worker = this.#spawn();
    worker.hold(isHeld);
    await worker.load();
    worker.hold(false);
    if (this.#worker === worker) this.#isLoaded = true;
  }

  #spawn(): HandlerThread {
    const worker = new HandlerThread(this.thread, this.#settings, this.#times, {
      lost: (error) => {
        if (this.#worker === worker) this.#lost(error);
      },
      teardownFailed: (error) => this.#events.teardownFailed(error),
    });
    this.#worker = worker;
    this.#spawnedAt = performance.now();
    return worker;
  }

  /**
   * Lets its threads take requests; resolves when the one that has loaded does, or was lost. While
   * others load it may have been lost already: then its replacement comes when it has loaded.
   */
  async open(): Promise<void> {
    this.#isOpen = true;
    await this.#attach();
  }

  async #attach(): Promise<void> {
    if (!this.#isOpen || !this.#isLoaded) return;
    const link = this.#links.link(this.thread);
    this.#link = link;
    await this.#worker?.attach(link);
  }

  /** Finds out whether the thread's event loop is blocked, and replaces the thread if so. */
  check(now: number, timeoutMs: number): void {
    const worker = this.#worker;
    if (worker === null || this.#link === null || this.#isStopping) return;
    if (worker.silence(now) < timeoutMs) {
      worker.ping(now);
      return;
    }
    this.#terminated = worker.terminate();
    const text = `thread ${this.thread} was blocked for longer than ${timeoutMs} ms`;
    this.#lost(new OdradekError('ERR_ODRADEK_HANDLER_TIMEOUT', text));
  }

  #lost(error: OdradekError): void {
    const link = this.#link;
    this.#worker = null;
    this.#link = null;
    this.#isLoaded = false;
    const { started, requeued } = link?.detach(error) ?? { started: 0, requeued: 0 };
    this.#startedBefore += link?.startedTotal ?? 0;
    let restartInMs: number | null = null;
    if (!this.#isOver) {
      restartInMs = this.#backOff.next(performance.now() - this.#spawnedAt);
      this.#timer = setTimeout(() => this.#replace(), restartInMs).unref();
    }
    this.#events.lost({ thread: this.thread, error, started, requeued, restartInMs });
  }

  #replace(): void {
    this.#restarts++;
    const worker = this.#spawn();
    worker.load().then(
      () => {
        if (this.#worker !== worker || this.#isOver) return;
        this.#isLoaded = true;
        void this.#attach();
      },
      (error) => {
        if (this.#worker !== worker || this.#isOver) return;
        this.#terminated = worker.terminate();
        this.#lost(error);
      },
    );
  }

  /** Waits until the thread has answered what it has, and gives it nothing more. */
  async retire(): Promise<void> {
    this.#giveUpReplacing();
    this.#links.remove(this.thread);
    await this.#link?.retire();
  }

  /** Ends the thread: in order within `graceMs`, then by force. */
  async stop(graceMs: number, isHeld: boolean): Promise<void> {
    this.#giveUpReplacing();
    this.#isStopping = true;
    await this.#terminated;
    const worker = this.#worker;
    if (worker === null) return;
    worker.hold(isHeld);
    await worker.stop(graceMs);
    this.#worker = null;
    this.#link?.detach(new OdradekError('ERR_ODRADEK_HANDLER_LOST', 'the pool has ended'));
    this.#link = null;
  }

  #giveUpReplacing(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  metrics(): HandlerThreadCounts {
    const link = this.#link;
    return {
      thread: this.thread,
      inFlight: link?.inFlight ?? 0,
      startedTotal: this.#startedBefore + (link?.startedTotal ?? 0),
      restarts: this.#restarts,
      idleMs: this.#worker?.idleMs ?? 0,
    };
  }
}
