import { EventEmitter } from 'node:events';
import { performance } from 'node:perf_hooks';
import { checkNames, checkTimeout } from './check.js';
import type { CloseCode, CloseReason } from './close-reason.js';
import type { Connection, ServerConnection } from './connection.js';
import { pickLimits } from './connection-limits.js';
import { channels } from './diagnostics.js';
import { describe, messageOf, OdradekError, textOf } from './errors.js';
import { checkThreads } from './handler-pool/handler-pool-options.js';
import { InThreadHandlerPool, inThread } from './handler-pool/in-thread-handler-pool.js';
import { Refusal } from './handler-pool/refusal.js';
import type { HandlerThreadLoss } from './handler-pool/thread-protocol.js';
import { makeWorkerPool, type WorkerPool } from './handler-pool/worker-pool.js';
import type { LimitChanges } from './limits.js';
import { ListenerRemoval, unheardMs } from './listener-removal.js';
import { average, IdleMeters, RateMeters } from './meters.js';
import type { Metrics } from './metrics.js';
import {
  checkOptions,
  type Listener,
  type ListenerOptions,
  maxNetworkThreads,
  type Settings,
  type SocketServerOptions,
} from './options.js';
import { type OverloadChange, OverloadSteps } from './overload-steps.js';
import { closeConnection } from './reply.js';
import type { Request, ServerRequest } from './request.js';
import { HandlerTimes, type RequestTimes, requestTimesOf } from './request-times.js';
import { selectTransport } from './select-transport.js';
import type { Address, Transport, TransportEvents } from './transport.js';

/** Of `close()`. */
export interface CloseOptions {
  /** How long received requests may take to be answered, in milliseconds; default 5000. */
  timeoutMs?: number;
}

/** Of `removeListener()`. */
export interface RemoveListenerOptions {
  /** How long received requests may take to be answered, in milliseconds; default 5000. */
  drainMs?: number;
}

/** What `close()` did, or `removeListener()` with the connections of its listener. */
export interface CloseSummary {
  /** Replies that were handed to the kernel after the call. */
  readonly completed: number;
  /** Requests that had been received and were cut off, at the deadline or by their clients. */
  readonly cut: number;
}

/** What a {@link SocketServer} emits, with the arguments of its listeners. */
export interface ServerEvents<State> {
  /** Comes before `onConnect` is called. */
  connectionOpened: [connection: Connection<State>];
  /** Once for each connection that was opened, after `onDisconnect`. */
  connectionClosed: [connection: Connection<State>, reason: CloseReason];
  /**
   * A handler or a hook failed. `request` is null where `onConnect`, `onDisconnect` or the
   * `teardown` of a handler thread did.
   */
  handlerError: [error: unknown, request: Request<State> | null];
  /** A thread of the handler pool crashed, ran out of memory, exited or was blocked. */
  handlerThreadLost: [loss: HandlerThreadLoss];
  /** A socket could not be accepted (descriptors or memory ran out); the listener goes on. */
  acceptError: [error: NodeJS.ErrnoException, listener: string];
  /** A step under overload was entered or left: see `overload` of the options. */
  overload: [change: OverloadChange];
  /** A loop had to end, with its connections: `ERR_ODRADEK_REACTOR_LOST`. */
  fatal: [error: Error];
  /** `close()` is done. */
  close: [summary: CloseSummary];
}

const defaultCloseTimeoutMs = 5000;

/** What handler threads get for their `teardown` even where `close()` has reached its deadline. */
const leastTeardownMs = 100;

/**
 * A server that speaks one framed protocol per listener: Kafka's SocketServer for TypeScript.
 *
 * ```ts
 * const server = new SocketServer({
 *   listeners: [{ port: 9092 }],
 *   handler: (request) => request.body,
 * });
 * await server.start();
 * ```
 *
 * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION` for any wrong option
 */
export class SocketServer<State = unknown> extends EventEmitter<ServerEvents<State>> {
  readonly #settings: Settings<State>;
  readonly #transport: Transport<State>;
  readonly #pool: InThreadHandlerPool<State>;
  /** Where the handlers have threads of their own. */
  readonly #workers: WorkerPool<State> | null;
  readonly #overload: OverloadSteps;
  readonly #refusal: Refusal<State>;
  /** Connections that are open, as far as was told. */
  #open = 0;
  /**
   * Requests whose handler may await `close()` itself, by connection. The drain waits for those
   * before them, and neither for them nor for those behind, whose replies can't leave earlier.
   */
  readonly #exempt = new Map<ServerConnection<State>, ServerRequest<State>>();
  /** Listeners that are being removed. */
  readonly #removals = new Map<Listener<State>, ListenerRemoval<State>>();
  /** The last call of {@link resizeNetworkThreads}, which the next waits for. */
  #resizing: Promise<void> = Promise.resolve();
  #state: 'new' | 'starting' | 'running' | 'closing' | 'closed' = 'new';
  #closing: Promise<CloseSummary> | null = null;
  readonly #draining = new AbortController();
  #cut = 0;
  /** How many connections were closed by each time-out. */
  readonly #expired = {
    IDLE_TIMEOUT: 0,
    FRAME_TIMEOUT: 0,
    WRITE_TIMEOUT: 0,
    READ_TOO_SLOW: 0,
    WRITE_TOO_SLOW: 0,
  };
  #warned = false;
  readonly #idle = new IdleMeters();
  readonly #rates = new RateMeters();
  /** What was recorded on this thread. */
  readonly #handlerTimes = new HandlerTimes();
  #drained: (() => void) | null = null;

  constructor(options: SocketServerOptions<State>) {
    super();
    this.#settings = checkOptions(options);
    this.#transport = selectTransport(this.#settings, this.#transportEvents());
    const { limits, handlerPool, onOverload } = this.#settings;
    this.#refusal = new Refusal(onOverload, handlerPool?.refusalMemory);
    this.#overload = new OverloadSteps(limits.current.overload, {
      longestWaitMs: () => this.#transport.longestWaitMs(),
      apply: () => this.#applyLimits(),
      changed: (change) => this.#overloadChanged(change),
    });
    this.#workers = makeWorkerPool(this.#settings, this.#transport, {
      given: (request) => this.#pool.startClock(request),
      takenBack: (request) => this.#pool.stopClock(request),
      fail: (request, error) => this.#pool.fail(request, error),
      makeErrorReply: (request, error) => this.#pool.makeErrorReply(request, error),
      lost: (loss) => this.#threadLost(loss),
      failed: (error) => this.#handlerFailed(error, null),
    });
    this.#pool = new InThreadHandlerPool(
      this.#transport,
      this.#settings,
      (error, request) => this.#handlerFailed(error, request),
      () => this.#checkDrained(),
      this.#workers?.runner ?? inThread(this.#refusal),
      this.#handlerTimes,
    );
  }

  /** The transport in use: `'native'`, or `'js'` where that was asked for or is all there is. */
  get transport(): 'native' | 'js' {
    return this.#transport.kind;
  }

  /**
   * Sets up the handler threads, if there are any, then opens every listener; resolves when every
   * loop runs. On an error everything already opened is closed again, and the server can't be
   * started a second time.
   *
   * @throws OdradekError `ERR_ODRADEK_HANDLER_MODULE`, `ERR_ODRADEK_LISTEN`, `ERR_ODRADEK_HOST`,
   *   `ERR_ODRADEK_THREAD`, `ERR_ODRADEK_INVALID_STATE` (started before, or closed meanwhile)
   */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw invalidState('start()', this.#state);
    this.#state = 'starting';
    try {
      await this.#workers?.threads.start();
      this.#checkStarting();
      await this.#transport.start();
      this.#checkStarting();
      await this.#workers?.threads.attach();
      this.#checkStarting();
    } catch (error) {
      if (this.#state === 'starting') {
        await this.#workers?.threads.stop(defaultCloseTimeoutMs);
        this.#state = 'closed';
      }
      throw error;
    }
    this.#state = 'running';
    // Idle percentages count from here.
    this.metrics();
  }

  #checkStarting(): void {
    if (this.#state !== 'starting') throw invalidState('start()', this.#state);
  }

  /**
   * Changes the number of handler threads while the server runs: new ones are loaded and set up
   * before they take requests; those that leave answer what they have, then tear down. Calls are
   * served one after the other, and superseded by `close()`.
   *
   * @param threads 1 to 256
   * @throws OdradekError `ERR_ODRADEK_INVALID_ARGUMENT` for another number,
   *   `ERR_ODRADEK_INVALID_STATE` without a `handlerPool`, or unless the server runs,
   *   `ERR_ODRADEK_HANDLER_MODULE` if a new thread can't be set up; then the number stays
   */
  async resizeHandlerPool(threads: number): Promise<void> {
    checkThreads(threads);
    if (this.#workers === null) {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_STATE',
        'resizeHandlerPool() on a server without a handlerPool',
      );
    }
    if (this.#state !== 'running') throw invalidState('resizeHandlerPool()', this.#state);
    await this.#workers.threads.resize(threads);
  }

  /**
   * Changes `networkThreads` while the server runs. Nothing is lost: the connections of a thread that
   * ends go on at the others, with everything received and not yet sent. Connections that are open
   * stay where they are when threads are added; new ones are given to all threads in turn. Calls wait
   * for each other. The js transport, which has one event loop, does nothing.
   *
   * @param threads 1 to 64
   * @throws OdradekError `ERR_ODRADEK_INVALID_ARGUMENT`; `ERR_ODRADEK_INVALID_STATE` unless the server
   *   runs with threads (`networkThreads` isn't 0) until this is done; `ERR_ODRADEK_THREAD` if one
   *   could not be started, and then nothing has changed
   */
  async resizeNetworkThreads(threads: number): Promise<void> {
    if (!Number.isInteger(threads) || threads < 1 || threads > maxNetworkThreads) {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_ARGUMENT',
        `threads must be an integer from 1 to ${maxNetworkThreads}, got ${describe(threads)}`,
      );
    }
    const resized = this.#resizing.then(() => this.#resize(threads));
    this.#resizing = resized.catch(() => undefined);
    await resized;
  }

  async #resize(threads: number): Promise<void> {
    if (this.#settings.networkThreads === 0) {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_STATE',
        'resizeNetworkThreads() on a server without network threads (networkThreads: 0)',
      );
    }
    if (this.#state === 'running') await this.#transport.resizeNetworkThreads(threads);
    if (this.#state !== 'running') throw invalidState('resizeNetworkThreads()', this.#state);
  }

  /**
   * Changes limits while the server runs, all of them or (on an error) none; what is not named stays,
   * and `undefined` is the default again. They also go for what is open: time-outs for what is waited
   * for already; connections above a lower `maxConnections` are closed, those that have been quiet for
   * longest first, and those above the other limits stay.
   *
   * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION` for a wrong limit, `ERR_ODRADEK_INVALID_STATE`
   *   unless the server runs
   */
  updateLimits(changes: LimitChanges): void {
    if (this.#state !== 'running') throw invalidState('updateLimits()', this.#state);
    const { overload } = this.#settings.limits.change(changes);
    this.#applyLimits();
    this.#overload.update(overload);
  }

  /** The limits as they are, and what overload makes of them at this moment. */
  #applyLimits(): void {
    this.#transport.updateLimits(this.#overload.applyTo(this.#settings.limits.current));
    this.#refusal.isOn = this.#overload.has('refuseRequests');
  }

  /**
   * Opens one more listener while the server serves. Its options are those of the constructor's
   * `listeners`; what it leaves out is the server's.
   *
   * @returns where it is bound
   * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION` for a wrong option or a name that is taken,
   *   `ERR_ODRADEK_LISTEN`, `ERR_ODRADEK_HOST` or `ERR_ODRADEK_THREAD` if it can't be opened,
   *   `ERR_ODRADEK_INVALID_STATE` unless the server runs until it is; in each case nothing has changed
   */
  override addListener(options: ListenerOptions<State>): Promise<Address>;
  /** `EventEmitter`'s: another name of `on()`. */
  override addListener<K extends keyof ServerEvents<State>>(
    event: K,
    heard: (...values: ServerEvents<State>[K]) => void,
  ): this;
  override addListener(what: unknown, heard?: unknown): unknown {
    if (typeof heard !== 'function') return this.#addListener(what as ListenerOptions<State>);
    return super.addListener(what as 'close', heard as () => void);
  }

  async #addListener(options: ListenerOptions<State>): Promise<Address> {
    if (this.#state !== 'running') throw invalidState('addListener()', this.#state);
    const { listeners, limits } = this.#settings;
    const listener = listeners.add(options);
    const { index, name } = listener;
    try {
      limits.add(index, { ...pickLimits(options), name });
      this.#applyLimits();
      await this.#transport.addListener(listener);
      if (this.#state !== 'running') throw invalidState('addListener()', this.#state);
    } catch (error) {
      listeners.withdraw(listener);
      this.#dropLimits(listener);
      throw error;
    }
    listeners.opened(listener);
    return this.address(name);
  }

  /**
   * Closes a listener while the server goes on: nothing more is accepted there, and its connections
   * end as by {@link close}: what was received is answered, and what is left after `drainMs` is closed
   * with `DEADLINE`. Superseded by `close()`, whose deadline counts then. The name is free when this
   * is done. A server whose last listener was removed goes on.
   *
   * Called in the synchronous part of a handler it doesn't wait for that handler's connection.
   *
   * @throws OdradekError `ERR_ODRADEK_INVALID_ARGUMENT` for an unknown name,
   *   `ERR_ODRADEK_INVALID_OPTION` for a wrong option, `ERR_ODRADEK_INVALID_STATE` unless the server
   *   runs
   */
  override removeListener(name: string, options?: RemoveListenerOptions): Promise<CloseSummary>;
  /** `EventEmitter`'s: another name of `off()`. */
  override removeListener<K extends keyof ServerEvents<State>>(
    event: K,
    heard: (...values: ServerEvents<State>[K]) => void,
  ): this;
  override removeListener(name: unknown, what: unknown = {}): unknown {
    if (typeof what !== 'function') return this.#removeListener(name, what as object);
    return super.removeListener(name as 'close', what as () => void);
  }

  /** A listener has gone, and its limits with it. */
  #dropLimits({ index }: Listener<State>): void {
    this.#settings.limits.remove(index);
    if (this.#state === 'running') this.#applyLimits();
  }

  async #removeListener(name: unknown, options: RemoveListenerOptions): Promise<CloseSummary> {
    checkNames('removeListener()', options, ['drainMs']);
    const { drainMs = defaultCloseTimeoutMs } = options;
    checkTimeout('drainMs', drainMs);
    if (this.#state !== 'running') throw invalidState('removeListener()', this.#state);
    const { listeners } = this.#settings;
    const listener = listeners.named(name);
    const removal = new ListenerRemoval(this.#transport, listener, this.#pool.current);
    this.#removals.set(listener, removal);
    listeners.drain(listener);
    removal.begin(drainMs);
    await removal.done;
    listeners.remove(listener);
    this.#dropLimits(listener);
    if (removal.isOver) this.#removals.delete(listener);
    return removal.summary;
  }

  /**
   * Where a listener is bound.
   *
   * @param listener its name; may be left out where there is only one
   * @throws OdradekError `ERR_ODRADEK_INVALID_STATE` unless the server runs,
   *   `ERR_ODRADEK_INVALID_ARGUMENT` for an unknown name
   */
  address(listener?: string): Address {
    const { listeners } = this.#settings;
    const only = listener === undefined ? listeners.only : undefined;
    const address = this.#transport.address(only ?? listeners.named(listener));
    if (address === undefined) throw invalidState('address()', this.#state);
    return address;
  }

  /**
   * Ends the server: stops accepting, answers what was received, closes each connection in order,
   * and at the deadline closes what is left. Idempotent; supersedes a `start()` under way.
   *
   * Called in the synchronous part of a handler it doesn't wait for that handler's request beyond
   * the turn of the event loop, nor for those of its connection behind it, so a handler may await
   * it; after an `await` of its own a handler that awaits `close()` is waited
   * for until the deadline.
   *
   * @throws OdradekError `ERR_ODRADEK_INVALID_OPTION` for a wrong option
   */
  close(options: CloseOptions = {}): Promise<CloseSummary> {
    checkNames('close()', options, ['timeoutMs']);
    const { timeoutMs = defaultCloseTimeoutMs } = options;
    checkTimeout('timeoutMs', timeoutMs);
    const current = this.#pool.current;
    if (current !== null && !this.#exempt.has(current.connection)) {
      this.#exempt.set(current.connection, current);
    }
    this.#closing ??= this.#close(timeoutMs);
    this.#checkDrained();
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<CloseSummary> {
    const wasUp = this.#state === 'running' || this.#state === 'starting';
    this.#state = 'closing';
    this.#draining.abort();
    for (const removal of this.#removals.values()) removal.supersede();
    const deadline = performance.now() + timeoutMs;
    const answeredBefore = wasUp ? this.#transport.metrics().responsesTotal : 0;
    if (wasUp) {
      this.#transport.drain();
      // No acceptor is there any more that this would let go on.
      this.#overload.end();
      await this.#drain(timeoutMs);
      // A handler that called close() may just have returned its reply.
      if (this.#exempt.size > 0) await new Promise((resolve) => setImmediate(resolve));
    }
    this.#transport.destroy('DEADLINE');
    this.#pool.close();
    await this.#stopWorkers(deadline);
    this.#state = 'closed';
    const completed = wasUp ? this.#transport.metrics().responsesTotal - answeredBefore : 0;
    const summary = { completed, cut: this.#cut };
    this.#emit('close', summary);
    return summary;
  }

  async #stopWorkers(deadline: number): Promise<void> {
    if (this.#workers === null) return;
    // First the threads are told what became of the requests that they have.
    await new Promise((resolve) => setImmediate(resolve));
    await this.#workers.threads.stop(Math.max(leastTeardownMs, deadline - performance.now()));
  }

  /** Waits until every connection is done, or for the deadline. */
  #drain(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const deadline = setTimeout(resolve, timeoutMs);
      this.#drained = () => {
        clearTimeout(deadline);
        resolve();
      };
      this.#checkDrained();
    });
  }

  #checkDrained(): void {
    for (const removal of this.#removals.values()) removal.check();
    if (this.#drained === null) return;
    let exempt = 0;
    for (const [connection, request] of this.#exempt) {
      if (!connection.ended && !connection.order?.isBehind(request)) exempt++;
    }
    if (this.#open > exempt) return;
    // One may be open, and even answered by a handler thread, before this thread has heard of it.
    if (this.#transport.openConnections > this.#open) {
      setTimeout(() => this.#checkDrained(), unheardMs);
      return;
    }
    this.#drained();
  }

  /**
   * Aborted when `close()` begins: handlers that wait for something to happen can answer now, and
   * health checks can say so.
   */
  get draining(): AbortSignal {
    return this.#draining.signal;
  }

  /** The connections that are open, as they are at this moment. */
  connections(): IterableIterator<Connection<State>> {
    return [...this.#transport.connections()].values();
  }

  /**
   * Closes, in order, each connection on which nothing is under way: no request received and not
   * answered, no reply that waits to be sent, no part of a frame. Their reason is `CLOSED_BY_SERVICE`.
   */
  closeIdleConnections(): void {
    this.#transport.closeIdle();
  }

  /** `close()` with its defaults, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close().then(() => undefined);
  }

  /** A running server keeps the process alive (the default). */
  ref(): this {
    this.#transport.ref();
    this.#workers?.threads.hold(true);
    return this;
  }

  /** Lets the process end although the server runs. */
  unref(): this {
    this.#transport.unref();
    this.#workers?.threads.hold(false);
    return this;
  }

  /** A snapshot of the counters. */
  metrics(): Metrics {
    const now = performance.now();
    const counts = this.#transport.metrics();
    const processors = counts.processors.map((processor) => ({
      ...processor,
      idlePercent: this.#idle.read(`processor ${processor.id}`, processor.idleMs, now),
    }));
    const listeners = counts.listeners.map(({ blockedMs, ...listener }) => ({
      ...listener,
      acceptorBlockedPercent:
        1 - this.#idle.read(`acceptor ${listener.name}`, now - blockedMs, now),
      connectionAcceptRate: this.#rates.read(
        `acceptor ${listener.name}`,
        listener.connectionsAcceptedTotal,
        now,
      ),
      connectionAcceptThrottleAvgMs: averageOf(
        listener.connectionAcceptThrottleMs,
        listener.connectionAcceptThrottleTimesTotal,
      ),
      ipConnectionAcceptThrottleAvgMs: averageOf(
        listener.ipConnectionAcceptThrottleMs,
        listener.connectionsThrottledTotal,
      ),
    }));
    const threads = this.#workers?.threads.metrics() ?? [];
    const handlerThreads = threads.map((thread) => ({
      ...thread,
      idlePercent: this.#idle.read(`thread ${thread.thread}`, thread.idleMs, now),
    }));
    const { idle } = performance.eventLoopUtilization();
    const inThread = this.#idle.read('this thread', idle, now);
    return {
      transport: this.#transport.kind,
      ...counts,
      listeners,
      processors,
      networkProcessorAvgIdlePercent: average(processors.map(({ idlePercent }) => idlePercent)),
      requestHandlerAvgIdlePercent:
        this.#workers === null
          ? inThread
          : average(handlerThreads.map(({ idlePercent }) => idlePercent)),
      connectionAcceptRate: this.#rates.read('accepted', counts.connectionsAcceptedTotal, now),
      memoryPoolAvgDepletedPercent:
        1 - this.#idle.read('memory', now - counts.memoryPoolDepletedMs, now),
      requestTimes: this.#requestTimes(),
      requestsInFlight: this.#pool.inFlight + (this.#workers?.inFlight() ?? 0),
      handlerErrorsTotal: this.#pool.errorsTotal,
      overloadStep: this.#overload.step,
      overloadStepsTotal: { ...this.#overload.enteredTotal },
      requestsRefusedTotal: this.#refusal.total,
      idleTimeoutsTotal: this.#expired.IDLE_TIMEOUT,
      frameTimeoutsTotal: this.#expired.FRAME_TIMEOUT,
      writeTimeoutsTotal: this.#expired.WRITE_TIMEOUT,
      readsTooSlowTotal: this.#expired.READ_TOO_SLOW,
      writesTooSlowTotal: this.#expired.WRITE_TOO_SLOW,
      handlerThreads,
    };
  }

  #requestTimes(): RequestTimes {
    const sum = new HandlerTimes();
    sum.add(this.#handlerTimes);
    this.#workers?.threads.addTimesTo(sum);
    return requestTimesOf(sum, this.#transport.times());
  }

  #transportEvents(): TransportEvents<State> {
    return {
      connectionOpened: (connection) => this.#connectionOpened(connection),
      admits: (request) => this.#workers?.admits(request) ?? true,
      requestReceived: (request) => this.#pool.receive(request),
      turnEnded: () => this.#pool.endTurn(),
      holdEnded: (connection) => this.#pool.resume(connection),
      connectionReset: (connection) => connection.abort(new Error('the client is gone')),
      connectionClosed: (connection, reason) => this.#connectionClosed(connection, reason),
      acceptError: (error, listener) => {
        if (channels.acceptError.hasSubscribers) {
          channels.acceptError.publish({ server: this, listener, error });
        }
        this.#emit('acceptError', error, listener);
      },
      fatal: (error) => this.#emit('fatal', error),
    };
  }

  #connectionOpened(connection: ServerConnection<State>): void {
    this.#open++;
    this.#overload.start();
    this.#removals.get(connection.listenerConfig)?.opened(connection);
    if (channels.connectionOpened.hasSubscribers) {
      channels.connectionOpened.publish({ server: this, connection });
    }
    this.#emit('connectionOpened', connection);
    if (this.#settings.onConnect !== undefined) this.#decide(connection, this.#settings.onConnect);
  }

  #decide(
    connection: ServerConnection<State>,
    onConnect: NonNullable<Settings<State>['onConnect']>,
  ): void {
    connection.connecting = true;
    const decided = (decision: unknown) => this.#connectDecided(connection, decision);
    const failed = (error: unknown) => {
      this.#handlerFailed(error, null);
      connection.connecting = false;
      connection.closeWith('REFUSED', messageOf(error));
      this.#pool.flushSoon();
    };
    try {
      const decision = onConnect(connection);
      if (decision instanceof Promise) decision.then(decided).catch(failed);
      else if (isThenable(decision)) Promise.resolve(decision).then(decided).catch(failed);
      else decided(decision);
    } catch (error) {
      failed(error);
    }
  }

  #connectDecided(connection: ServerConnection<State>, decision: unknown): void {
    if (connection.ended) return;
    if (decision === closeConnection) {
      connection.connecting = false;
      connection.closeWith('REFUSED');
    } else if (decision === undefined || decision instanceof Uint8Array) {
      if (decision !== undefined) connection.framer.check(decision.byteLength);
      connection.connecting = false;
      if (!connection.closing) this.#transport.accept(connection, decision ?? null);
      this.#pool.resume(connection);
    } else {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_REPLY',
        `onConnect must return nothing, a Uint8Array or closeConnection, got ${describe(decision)}`,
      );
    }
    this.#pool.flushSoon();
  }

  #connectionClosed(connection: ServerConnection<State>, reason: CloseReason): void {
    connection.end(reason.code);
    this.#pool.ended(connection);
    this.#workers?.forget(connection);
    this.#open--;
    if (this.#open === 0) this.#overload.stop();
    if (isOneOf(this.#expired, reason.code)) this.#expired[reason.code]++;
    if (this.#state === 'closing') this.#cut += reason.unanswered;
    this.#leaveRemoval(connection, reason);
    this.#callOnDisconnect(connection, reason);
    if (channels.connectionClosed.hasSubscribers) {
      channels.connectionClosed.publish({ server: this, connection, reason });
    }
    this.#emit('connectionClosed', connection, reason);
    this.#checkDrained();
  }

  #leaveRemoval(connection: ServerConnection<State>, reason: CloseReason): void {
    const removal = this.#removals.get(connection.listenerConfig);
    removal?.closed(connection, reason);
    if (removal?.isOver) this.#removals.delete(connection.listenerConfig);
  }

  #callOnDisconnect(connection: ServerConnection<State>, reason: CloseReason): void {
    try {
      const result: unknown = this.#settings.onDisconnect?.(connection, reason);
      if (isThenable(result)) result.then(undefined, (error) => this.#handlerFailed(error, null));
    } catch (error) {
      this.#handlerFailed(error, null);
    }
  }

  #threadLost(loss: HandlerThreadLoss): void {
    if (channels.handlerThreadLost.hasSubscribers) {
      channels.handlerThreadLost.publish({ server: this, loss });
    }
    this.#emit('handlerThreadLost', loss);
  }

  #overloadChanged(change: OverloadChange): void {
    if (channels.overload.hasSubscribers) channels.overload.publish({ server: this, change });
    this.#emit('overload', change);
  }

  /** Never throws: it is called in the middle of a turn. */
  #handlerFailed(error: unknown, request: ServerRequest<State> | null): void {
    if (channels.handlerError.hasSubscribers) {
      channels.handlerError.publish({ server: this, request, error });
    }
    const heard = this.listenerCount('handlerError') > 0;
    if (heard) this.#emit('handlerError', error, request);
    else if (this.#settings.onHandlerError === undefined) this.#warn(error);
  }

  /** A mistake in a handler must not stay unseen where nobody listens: one warning a server. */
  #warn(error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    const text = textOf(error);
    process.emitWarning(`a handler failed, and so will not be reported again: ${text}`, {
      type: 'OdradekWarning',
      code: 'ODRADEK_HANDLER_ERROR',
    });
  }

  /** A listener that throws is the program's own uncaught exception, not this connection's. */
  #emit<K extends keyof ServerEvents<State>>(name: K, ...values: ServerEvents<State>[K]): void {
    try {
      (this as EventEmitter).emit(name as string, ...values);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }
}

export type { CloseCode };

function averageOf(sum: number, count: number): number {
  return count === 0 ? 0 : sum / count;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | undefined)?.then === 'function';
}

function isOneOf<Code extends CloseCode>(
  counts: Readonly<Record<Code, number>>,
  code: CloseCode,
): code is Code {
  return code in counts;
}

function invalidState(what: string, state: string): OdradekError {
  return new OdradekError('ERR_ODRADEK_INVALID_STATE', `${what} on a server that is ${state}`);
}
