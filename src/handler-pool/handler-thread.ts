import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { OdradekError } from '../errors.js';
import { unpackError } from './error-crossing.js';
import { moduleError } from './handler-module.js';
import type { HandlerPoolSettings } from './handler-pool-options.js';
import { receiveAll } from './receive-all.js';
import {
  type FromThread,
  type HandlerLink,
  type ThreadData,
  type ToThread,
  threadStatus,
} from './thread-protocol.js';
import type { ThreadTimes } from './thread-times.js';

/**
 * What the thread runs. The path goes by the package's root, so that it is right from `src` too:
 * the project's own tests run the sources, and a thread can run JavaScript alone.
 */
const entry = new URL('../../dist/handler-pool/worker.js', import.meta.url);

/** How long an end by force may take: a thread in a system call can't be interrupted. */
const terminateMs = 1000;

export interface HandlerThreadEvents {
  /** It was loaded, and has ended without being asked to. */
  lost(error: OdradekError): void;
  teardownFailed(error: unknown): void;
}

/** One thread of the handler pool, from the spawn to its exit. */
export class HandlerThread {
  readonly #worker: Worker;
  readonly #control: MessagePort;
  readonly #status = new Int32Array(new SharedArrayBuffer(4 * Object.keys(threadStatus).length));
  readonly #events: HandlerThreadEvents;
  readonly #module: string;
  readonly #exited: Promise<void>;
  readonly #startTimeoutMs: number;
  /** Set while it loads: called with the error, or with none, when it has loaded. */
  #loaded: ((error?: Error) => void) | null = null;
  #attached: (() => void) | null = null;
  /** Nobody waits for it any more: its end is no loss. */
  #isOver = false;
  #error: unknown;
  #pings = 0;
  #pingedAt = 0;

  constructor(
    thread: number,
    settings: HandlerPoolSettings,
    allTimes: ThreadTimes,
    events: HandlerThreadEvents,
  ) {
    const { module, data, resourceLimits, refusalMemory } = settings;
    const { port1, port2 } = new MessageChannel();
    const times = allTimes.begin();
    const workerData: ThreadData = {
      control: port2,
      module,
      thread,
      data,
      status: this.#status,
      times,
      refusalMemory,
    };
    this.#events = events;
    this.#module = module;
    this.#startTimeoutMs = settings.startTimeoutMs;
    this.#control = port1;
    this.#worker = new Worker(entry, {
      workerData,
      transferList: [port2],
      name: `odradek-handler-${thread}`,
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    });
    port1.on('message', (message: FromThread) => this.#receive(message));
    // A port with a listener, as a thread, would keep the process alive; that is up to the server.
    port1.unref();
    this.hold(false);
    this.#worker.on('error', (error) => {
      this.#error = error;
    });
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (exitCode) => {
        allTimes.end(times);
        this.#ended(exitCode);
        resolve();
      });
    });
  }

  /**
   * Resolves when the module is loaded and set up. Rejects with `ERR_ODRADEK_HANDLER_MODULE`, and
   * then the thread ends.
   */
  load(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.#startTimer();
      this.#loaded = (error) => {
        clearTimeout(timer);
        this.#loaded = null;
        if (error === undefined) resolve();
        else reject(error);
      };
    });
  }

  #startTimer(): NodeJS.Timeout | undefined {
    const ms = this.#startTimeoutMs;
    if (ms === 0) return undefined;
    const late = () => {
      this.#loaded?.(moduleError(`${this.#module}: it was not ready within ${ms} ms`));
      void this.terminate();
    };
    return setTimeout(late, ms).unref();
  }

  /** Lets it take requests; resolves when it does, or when it has ended. */
  attach({ attachment, transferList }: HandlerLink): Promise<void> {
    const message: ToThread = { kind: 'attach', attachment };
    this.#control.postMessage(message, transferList);
    return new Promise((resolve) => {
      this.#attached = resolve;
      this.#exited.then(resolve);
    });
  }

  /** For how long its event loop had nothing to do. Of a thread that is ending Node says -1. */
  get idleMs(): number {
    return Math.max(0, this.#worker.performance.eventLoopUtilization().idle);
  }

  /** Whether the process stays alive for it. */
  hold(isHeld: boolean): void {
    if (isHeld) this.#worker.ref();
    else this.#worker.unref();
  }

  /** Asks its event loop for an answer, unless one is still owed. */
  ping(now: number): void {
    if (this.#isPinged) return;
    this.#pings = (this.#pings + 1) | 0;
    this.#pingedAt = now;
    this.#say({ kind: 'ping', count: this.#pings });
  }

  /** For how many milliseconds its event loop has owed an answer. */
  silence(now: number): number {
    return this.#isPinged ? now - this.#pingedAt : 0;
  }

  get #isPinged(): boolean {
    return Atomics.load(this.#status, threadStatus.pong) !== this.#pings;
  }

  /** Ends it in order: `teardown` may take `graceMs`. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    if (this.#loaded !== null) return this.terminate();
    this.#isOver = true;
    this.#say({ kind: 'stop' });
    if (!(await this.#isGoneWithin(graceMs))) await this.terminate();
  }

  /** Ends it at this moment. */
  async terminate(): Promise<void> {
    this.#isOver = true;
    this.#loaded?.(stopped());
    void this.#worker.terminate();
    await this.#isGoneWithin(terminateMs);
  }

  async #isGoneWithin(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, ms, false);
    });
    const isGone = await Promise.race([this.#exited.then(() => true), late]);
    clearTimeout(timer);
    return isGone;
  }

  #say(message: ToThread): void {
    this.#control.postMessage(message);
  }

  #receive(message: FromThread): void {
    if (message.kind === 'ready') {
      this.#loaded?.();
    } else if (message.kind === 'attached') {
      this.#attached?.();
    } else if (message.kind === 'unusable') {
      this.#isOver = true;
      this.#loaded?.(unpackError(message.error) as Error);
    } else {
      this.#events.teardownFailed(unpackError(message.error));
    }
  }

  #ended(exitCode: number): void {
    receiveAll<FromThread>(this.#control, (message) => this.#receive(message));
    this.#control.close();
    const isLost = !this.#isOver;
    this.#isOver = true;
    const text = `it exited with code ${exitCode}`;
    if (this.#loaded !== null) {
      const before = `${this.#module}: ${text} before it was ready`;
      this.#loaded(moduleError(before, this.#error));
    } else if (isLost) {
      const options = this.#error === undefined ? {} : { cause: this.#error };
      this.#events.lost(new OdradekError('ERR_ODRADEK_HANDLER_LOST', text, options));
    }
  }
}

function stopped(): OdradekError {
  return new OdradekError('ERR_ODRADEK_INVALID_STATE', 'the server was closed meanwhile');
}
