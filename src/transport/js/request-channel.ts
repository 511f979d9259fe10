import { performance } from 'node:perf_hooks';
import type { ServerConnection } from '../../connection.js';
import { Fifo } from '../../fifo.js';
import type { ServerRequest } from '../../request.js';

/** A connection that can wait for room. */
export interface Waiter<State> extends ServerConnection<State> {
  waitingForRoom: boolean;
}

/**
 * Kafka's RequestChannel: framed requests on their way to the handler pool, bounded twice. A
 * request holds room in the queue from being framed to being taken (`queuedMaxRequests`), and
 * counts as pending while a handler has it (`maxPendingRequests`). Connections that find
 * the queue full wait here; room goes to the one that has waited longest.
 */
export class RequestChannel<State, W extends Waiter<State>> {
  readonly #queuedMax: number;
  readonly #pendingMax: number;
  readonly #admits: (request: ServerRequest<State>) => boolean;
  readonly #queue = new Fifo<ServerRequest<State>>();
  /** Since when each waits. Insertion order is waiting order. */
  readonly #waiters = new Map<W, number>();
  #pending = 0;
  /** No request of the queue is admitted at this moment. */
  #isRefused = false;

  /** @param admits whether the handler pool can begin a request now */
  constructor(
    queuedMaxRequests: number,
    maxPendingRequests: number,
    admits: (request: ServerRequest<State>) => boolean,
  ) {
    this.#admits = admits;
    this.#queuedMax = queuedMaxRequests;
    this.#pendingMax = maxPendingRequests;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get pending(): number {
    return this.#pending;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /** Whether one more frame may be made a request. */
  get hasRoom(): boolean {
    return this.#queue.length < this.#queuedMax;
  }

  /** Whether something here can go on now: a request be taken, or a waiter be given room. */
  get canGoOn(): boolean {
    return (
      (this.#queue.length > 0 && this.#pending < this.#pendingMax && !this.#isRefused) ||
      (this.#waiters.size > 0 && this.hasRoom)
    );
  }

  /** Queues a request. Only where {@link hasRoom}. */
  put(request: ServerRequest<State>): void {
    this.#queue.push(request);
    this.#isRefused = false;
  }

  /** Takes the oldest request that is admitted, unless as many as allowed are pending. */
  take(): ServerRequest<State> | undefined {
    const mayTake = this.#pending < this.#pendingMax && !this.#isRefused;
    const request = mayTake ? this.#queue.shiftFirst(this.#admits) : undefined;
    if (request === undefined && this.#queue.length > 0) {
      if (mayTake) this.#isRefused = true;
      this.#noteWaiting();
    }
    return request;
  }

  /** Those that came since the last time are at the end. */
  #noteWaiting(): void {
    let at = this.#queue.length - 1;
    if (this.#queue.at(at)?.waitsSince !== 0) return;
    const now = Math.ceil(performance.now());
    for (; at >= 0; at--) {
      const request = this.#queue.at(at) as ServerRequest<State>;
      if (request.waitsSince !== 0) return;
      request.waitsSince = now;
    }
  }

  /** Since when the longest waiting of all waits, on `performance.now()`'s scale; Infinity: none. */
  get waitsSince(): number {
    const request = this.#queue.first?.waitsSince || Infinity;
    const [connection = Infinity] = this.#waiters.values();
    return Math.min(request, connection);
  }

  /** What was not admitted may be now. */
  admitAgain(): void {
    this.#isRefused = false;
  }

  /** A taken request was given to its handler: it is pending from here. */
  start(): void {
    this.#pending++;
  }

  /** A pending request was answered, or its connection has ended. */
  settle(): void {
    this.#pending--;
  }

  /** Takes a connection's requests out of the queue, in their order. */
  withdraw(connection: ServerConnection<State>): ServerRequest<State>[] {
    if (this.#queue.length === 0) return [];
    return this.#queue.remove((request) => request.connection === connection);
  }

  /** The connection has a frame and there is no room for it. */
  wait(connection: W): void {
    connection.waitingForRoom = true;
    this.#waiters.set(connection, performance.now());
  }

  /** The connection that has waited longest, if there is room for a frame of its. */
  wakeNext(): W | undefined {
    if (this.#waiters.size === 0 || !this.hasRoom) return undefined;
    for (const connection of this.#waiters.keys()) {
      this.stopWaiting(connection);
      return connection;
    }
    return undefined;
  }

  stopWaiting(connection: W): void {
    connection.waitingForRoom = false;
    this.#waiters.delete(connection);
  }

  clear(): void {
    this.#queue.clear();
    this.#waiters.clear();
  }
}
