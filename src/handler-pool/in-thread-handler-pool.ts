import type { CloseCode } from '../close-reason.js';
import type { ServerConnection } from '../connection.js';
import { OdradekError } from '../errors.js';
import type { Handler, Settings } from '../options.js';
import { lengthOf, type ReplyParts, takeReplyApart } from '../reply.js';
import { ReplyOrder } from '../reply-order.js';
import type { ServerRequest } from '../request.js';
import type { HandlerTimes } from '../request-times.js';
import type { HandlerTransport } from '../transport.js';
import { HandlerClock } from './handler-clock.js';
import { HandlerTiming } from './handler-timing.js';
import { alreadyAnswered, isThenable } from './handler-value.js';
import type { Refusal } from './refusal.js';

/** Who runs the handlers. */
export interface HandlerRunner<State> {
  /** Runs a request's handler, or gives the request to somebody who does: a reply or a promise. */
  run(request: ServerRequest<State>): unknown;
  /**
   * Whether the handler has begun when {@link run} returns. Where not, its time counts from the
   * call of {@link InThreadHandlerPool.startClock}, and whoever runs it times it.
   */
  readonly isImmediate: boolean;
}

/** Runs the handler of the request's listener, which has one where there are no others to run it. */
export function inThread<State>(refusal: Refusal<State>): HandlerRunner<State> {
  return {
    run: (request) =>
      refusal.run(request, request.connection.listenerConfig.handler as Handler<State>),
    isImmediate: true,
  };
}

/** What the pool needs to know of the server's options. */
export type HandlerPoolLimits<State> = Pick<
  Settings<State>,
  'maxInFlightPerConnection' | 'handlerTimeoutMs' | 'onHandlerError'
>;

/**
 * Kafka's KafkaRequestHandlerPool, in the thread of the server: starts handlers, no more than
 * allowed at a time for each connection (by default one), and gives their replies to the transport
 * in the order of the requests.
 *
 * A synchronous reply makes no promise and goes out with its turn. Replies that settle in the
 * microtasks of a turn leave with that turn's flush too: the flush waits in `process.nextTick`,
 * which runs when the microtask queue is empty.
 */
export class InThreadHandlerPool<State> {
  /** Requests in handlers' hands. */
  inFlight = 0;
  errorsTotal = 0;
  /** The request whose handler is running at this moment, in its synchronous part. */
  current: ServerRequest<State> | null = null;
  readonly #transport: HandlerTransport<State>;
  /** Requests of a connection that may be in flight. */
  readonly #most: number;
  readonly #timeoutMs: number;
  readonly #clock: HandlerClock<State>;
  readonly #timing: HandlerTiming<State>;
  readonly #runner: HandlerRunner<State>;
  readonly #onHandlerError: Settings<State>['onHandlerError'];
  readonly #reportError: (error: unknown, request: ServerRequest<State>) => void;
  /** Where several requests of a connection may be in flight: another one is the first of them. */
  readonly #onNextInOrder: () => void;
  #asyncStarted = false;
  #flushScheduled = false;

  constructor(
    transport: HandlerTransport<State>,
    settings: HandlerPoolLimits<State>,
    reportError: (error: unknown, request: ServerRequest<State>) => void,
    onNextInOrder: () => void,
    runner: HandlerRunner<State>,
    times: HandlerTimes,
  ) {
    this.#transport = transport;
    this.#most = settings.maxInFlightPerConnection;
    this.#timeoutMs = settings.handlerTimeoutMs;
    this.#clock = new HandlerClock(this.#timeoutMs, (request) => this.#late(request));
    this.#timing = new HandlerTiming(times, (now) => transport.givenAt(now));
    this.#runner = runner;
    this.#onHandlerError = settings.onHandlerError;
    this.#reportError = reportError;
    this.#onNextInOrder = onNextInOrder;
  }

  /** Takes a request: starts it, or keeps it until one before it is answered. */
  receive(request: ServerRequest<State>): void {
    const connection = request.connection;
    if (connection.inFlight >= this.#most || connection.connecting) {
      connection.enqueue(request);
    } else if (connection.closing || connection.ended) {
      // Requests are settled in their order, those without an answer too.
      if (connection.inFlight > 0) connection.enqueue(request);
      else this.#transport.discard(request);
    } else if (connection.isHeldBack) {
      connection.enqueue(request);
    } else {
      this.#start(request);
    }
  }

  /** Everything of this turn has been received: send the replies that are ready. */
  endTurn(): void {
    this.#timing.pause();
    if (this.#asyncStarted) {
      this.#asyncStarted = false;
      queueMicrotask(this.#scheduleFlush);
    } else {
      this.#transport.flush();
    }
  }

  /** The request is in flight from here on. */
  #begin(request: ServerRequest<State>): void {
    const { connection } = request;
    connection.inFlight++;
    this.inFlight++;
    this.#transport.started();
    if (this.#most === 1) return;
    connection.order ??= new ReplyOrder();
    connection.order.start(request);
  }

  #start(request: ServerRequest<State>): void {
    const connection = request.connection;
    this.#begin(request);
    let value: unknown;
    let isAwaited = false;
    if (this.#runner.isImmediate) this.#timing.begin(request);
    this.current = request;
    connection.isStarting = true;
    try {
      value = this.#runner.run(request);
      // Looking for `then` may run the program's code too, and throw.
      isAwaited = !(value instanceof Uint8Array) && isThenable(value);
    } catch (error) {
      this.current = null;
      connection.isStarting = false;
      this.#failed(request, error);
      if (!request.answered) this.#isAway(request);
      return;
    }
    this.current = null;
    connection.isStarting = false;
    if (isAwaited) {
      this.#asyncStarted = true;
      this.#await(value as PromiseLike<unknown>, request);
    } else {
      this.#answer(request, value);
    }
  }

  /** The handler has returned, and what it answers comes later. */
  #isAway(request: ServerRequest<State>): void {
    if (this.#runner.isImmediate) request.returnedAt = this.#timing.look();
  }

  /** It was answered outside of the turn that started it; or will be, when a hook has said how. */
  #noteAnswered({ answered, returnedAt }: ServerRequest<State>): void {
    if (!answered) return;
    const now = this.#timing.look();
    if (returnedAt !== null) this.#timing.times.remote.record(now - returnedAt, 1);
  }

  #await(value: PromiseLike<unknown>, request: ServerRequest<State>): void {
    const fulfilled = (result: unknown): void => {
      if (!this.#mayReturn(request)) return;
      this.#answer(request, result);
      this.#returned(request);
    };
    const rejected = (error: unknown): void => {
      if (!this.#mayReturn(request)) return;
      this.#failed(request, error);
      this.#returned(request);
    };
    this.#isAway(request);
    if (this.#runner.isImmediate) this.#clock.start(request);
    try {
      value.then(fulfilled, rejected);
    } catch (error) {
      rejected(error);
    }
  }

  /** The handler has the request from here on: see {@link HandlerRunner.isImmediate}. */
  startClock(request: ServerRequest<State>): void {
    if (!request.returned) this.#clock.start(request);
  }

  /** The handler has not got it after all. */
  stopClock(request: ServerRequest<State>): void {
    this.#clock.end(request);
  }

  /** The handler has taken too long: whatever it says from here on is ignored. */
  #late(request: ServerRequest<State>): void {
    request.isLate = true;
    request.failCode = 'HANDLER_TIMEOUT';
    const error = new OdradekError(
      'ERR_ODRADEK_HANDLER_TIMEOUT',
      `a request was with its handler for longer than ${this.#timeoutMs} ms`,
    );
    request.abort(error);
    this.#failed(request, error);
    this.#returned(request);
  }

  /** Whether what a promise says counts: it is in time, and nothing was said before. */
  #mayReturn(request: ServerRequest<State>): boolean {
    if (request.isLate) return false;
    this.#clock.end(request);
    if (request.returned) {
      this.#reportError(alreadyAnswered(), request);
      return false;
    }
    request.returned = true;
    return true;
  }

  /** A request was answered outside of the turn that started it. */
  #returned(request: ServerRequest<State>): void {
    this.#noteAnswered(request);
    this.#startNext(request.connection);
    this.#scheduleFlush();
  }

  /** Starts what waits behind an answered request, until as many as allowed take their time. */
  #startNext(connection: ServerConnection<State>): void {
    while (connection.inFlight < this.#most && !connection.connecting && !connection.closing) {
      if (connection.isHeldBack) return;
      const next = connection.dequeue();
      if (next === undefined) return;
      this.#start(next);
    }
  }

  /** `onConnect` has settled, or a throttle has ended: start what came in the meantime. */
  resume(connection: ServerConnection<State>): void {
    this.#startNext(connection);
    this.#scheduleFlush();
  }

  /** Requests that a handler still has count as answered by their connection's end. */
  ended(connection: ServerConnection<State>): void {
    for (let i = 0; i < connection.inFlight; i++) this.#transport.settled();
    connection.order?.clear();
    connection.dropBacklog();
  }

  /** The server has ended: no request is late any more. */
  close(): void {
    this.#clock.clear();
  }

  /** Sends what a hook or a call outside of any turn has given to the transport. */
  flushSoon(): void {
    this.#scheduleFlush();
  }

  #answer(request: ServerRequest<State>, value: unknown): void {
    let bytes: ReplyParts['bytes'];
    let closeCode: CloseCode | null = null;
    try {
      if (value instanceof Uint8Array) bytes = value;
      else ({ bytes, closeCode } = takeReplyApart(value));
      if (bytes !== null) request.framer.check(lengthOf(bytes));
    } catch (error) {
      this.#failed(request, error);
      return;
    }
    this.#finish(request, bytes, closeCode);
  }

  /** A request that somebody else had begun fails here. Those of a connection in their order. */
  fail(request: ServerRequest<State>, error: unknown): void {
    this.#begin(request);
    this.#failed(request, error);
    this.#noteAnswered(request);
    this.#scheduleFlush();
  }

  /** Tells of a failure, and asks the hook for a reply: a value, or a promise that never rejects. */
  makeErrorReply(request: ServerRequest<State>, error: unknown): unknown {
    this.errorsTotal++;
    this.#reportError(error, request);
    try {
      const value = this.#onHandlerError?.(error, request);
      if (!isThenable(value)) return value;
      return Promise.resolve(value).catch((second) => this.#reportError(second, request));
    } catch (second) {
      this.#reportError(second, request);
      return undefined;
    }
  }

  #failed(request: ServerRequest<State>, error: unknown): void {
    const value = this.makeErrorReply(request, error);
    if (value instanceof Promise) value.then((reply) => this.#errorReplied(request, reply));
    else this.#finishFailed(request, value);
  }

  #errorReplied(request: ServerRequest<State>, value: unknown): void {
    this.#finishFailed(request, value);
    this.#returned(request);
  }

  #finishFailed(request: ServerRequest<State>, value: unknown): void {
    let parts: ReplyParts | null = null;
    if (value !== undefined) {
      try {
        parts = takeReplyApart(value);
        if (parts.bytes !== null) request.framer.check(lengthOf(parts.bytes));
      } catch (error) {
        parts = null;
        this.#reportError(error, request);
      }
    }
    if (parts === null) this.#finish(request, null, request.failCode);
    else this.#finish(request, parts.bytes, parts.closeCode);
  }

  #finish(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void {
    const connection = request.connection;
    const { order } = connection;
    request.answered = true;
    this.inFlight--;
    if (connection.ended) {
      request.settleSent({ ok: false, reason: connection.endCode ?? 'IO_ERROR' });
    } else if (order === null) {
      this.#give(request, bytes, closeCode);
    } else if (order.first === request) {
      this.#give(request, bytes, closeCode);
      this.#giveHeld(order);
    } else {
      request.readyAt ??= this.#timing.read();
      // Where the connection is cut before its turn comes, nobody will read it.
      const held = order.hold(request, connection.isCut ? null : bytes, closeCode);
      if (held.closeCode !== null) connection.closing = true;
    }
  }

  /** The replies that waited for the one just given. */
  #giveHeld(order: ReplyOrder<State>): void {
    let held = order.next();
    while (held !== undefined) {
      this.#give(held.request, held.bytes, held.closeCode);
      held = order.next();
    }
    this.#onNextInOrder();
  }

  /** Gives the transport the reply whose turn it is. */
  #give(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void {
    const connection = request.connection;
    connection.inFlight--;
    this.#transport.settled();
    connection.unwatch(request);
    if (closeCode !== null) connection.closing = true;
    this.#transport.reply(request, bytes, closeCode);
    if (closeCode !== null) connection.closedBy(closeCode);
    if (connection.closing && connection.inFlight === 0) connection.dropBacklog();
  }

  readonly #scheduleFlush = (): void => {
    this.#timing.pause();
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    process.nextTick(this.#flush);
  };

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    this.#timing.rest();
    this.#transport.flush();
  };
}
