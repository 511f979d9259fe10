import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import {
  checkCount,
  checkInteger,
  checkNames,
  checkTimeout,
  checkType,
  invalidOption,
} from './check.js';
import type { CloseReason } from './close-reason.js';
import type { Connection } from './connection.js';
import {
  type LimitedListener,
  type ListenerLimitOptions,
  listenerLimitNames,
  pickLimits,
} from './connection-limits.js';
import { OdradekError } from './errors.js';
import { type Framing, isFraming, lengthPrefixed } from './framing.js';
import {
  checkHandlerPool,
  type HandlerPoolOptions,
  type HandlerPoolSettings,
} from './handler-pool/handler-pool-options.js';
import { ChangeableLimits, type LimitOptions, limitNames } from './limits.js';
import { Listeners, maxListeners } from './listeners.js';
import type { closeConnection, Reply } from './reply.js';
import { makeReplyFramer, type ReplyFramer } from './reply-framer.js';
import type { Request } from './request.js';

/** Answers a request: see {@link Reply}. A thrown error or a rejection goes to `onHandlerError`. */
export type Handler<State = unknown> = (request: Request<State>) => Reply | PromiseLike<Reply>;

/** What `onConnect` decides: nothing or bytes (a greeting) accept, `closeConnection` refuses. */
export type ConnectDecision = undefined | Uint8Array | typeof closeConnection;

/** @inline */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook without a return statement is void
type Decision = ConnectDecision | void;
/** @inline */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook without a return statement is void
type MaybeReply = Reply | undefined | void;

export interface ListenerOptions<State = unknown> extends ListenerLimitOptions {
  /** Unique among the listeners; default `'PLAINTEXT'`. */
  name?: string;
  /** An address or a host name; default `'127.0.0.1'`. `'0.0.0.0'` or `'::'` serves every interface. */
  host?: string;
  /** 0 to 65535; 0 lets the system choose, see `server.address()`. */
  port: number;
  /** Connections that the kernel may hold before they are accepted: 1 to 65535, default 511. */
  backlog?: number;
  /** Default: the server's. */
  framing?: Framing;
  /** Default: the server's. */
  frameReplies?: boolean;
  /** Default: the server's. */
  handler?: Handler<State>;
}

export interface SocketServerOptions<State = unknown> extends LimitOptions {
  /** Kafka's `listeners`: at least one. */
  listeners: readonly ListenerOptions<State>[];
  /** How bytes become requests; default `lengthPrefixed()`, Kafka's frames. */
  framing?: Framing;
  /** Put the framing's header or delimiter around replies; default true. */
  frameReplies?: boolean;
  /** Answers requests on this thread; may be async. Needed unless every listener has its own. */
  handler?: Handler<State>;
  /**
   * Answers requests on threads of their own, instead of `handler` and the listeners' own ones.
   * `onConnect`, `onDisconnect` and `onHandlerError` stay on this thread.
   */
  handlerPool?: HandlerPoolOptions;
  /**
   * How long a handler may take, in milliseconds: 1 to 2147483647, default 0: for ever. A request
   * that is older goes to `onHandlerError` with `ERR_ODRADEK_HANDLER_TIMEOUT`, its `signal` aborts, and
   * what the handler answers later is ignored. A thread of the pool that is blocked for longer is
   * replaced; a handler that blocks this thread can't be stopped.
   */
  handlerTimeoutMs?: number;
  /**
   * Called once for each connection before its first request. May refuse by returning
   * `closeConnection` or throwing, or greet the client by returning bytes; may be async, and
   * nothing is read until it settles.
   */
  onConnect?: (connection: Connection<State>) => Decision | PromiseLike<Decision>;
  /** Called exactly once for each connection that was opened, after its last request has settled. */
  onDisconnect?: (connection: Connection<State>, reason: CloseReason) => void;
  /**
   * Called when a handler throws, rejects or returns what is no reply. What it returns is the
   * reply; without it, or if it returns nothing or fails itself, the connection is closed with
   * `HANDLER_ERROR`.
   */
  onHandlerError?: (
    error: unknown,
    request: Request<State>,
  ) => MaybeReply | PromiseLike<MaybeReply>;
  /**
   * Called instead of the handler for each request that is refused (`overload.refuseRequestsMs`), and
   * answers it as a handler does, its errors and `handlerTimeoutMs` included. Without it the connection
   * is closed with `OVERLOADED` when all earlier replies have left. With a `handlerPool` the module
   * exports it.
   */
  onOverload?: Handler<State>;
  /**
   * Kafka's `num.network.threads`: processors of the native transport, shared by all listeners.
   * 0 to 64, default `max(1, min(3, cores / 4))`: fewer threads make larger batches. With 0 the one
   * processor has no thread: the same C++ reactor runs in the calling thread's event loop, which
   * saves the wake-ups between threads, and reads nothing while a handler runs. That is the default
   * where the process may use one core only, without a `handlerPool`: a second thread could run no
   * sooner than the handlers' own lets it. Any other number can be changed while the server runs:
   * `resizeNetworkThreads()`.
   */
  networkThreads?: number;
  /**
   * Microseconds for which a processor of the native transport, and the handlers' thread, look
   * again and again before they sleep; 0 to 10000, default 0. Saves the wake-ups of a server with
   * little to do and little time, and costs that much CPU time each time it has nothing to do.
   */
  busyPollUs?: number;
  /**
   * Kafka's `queued.max.requests`: requests received and not yet taken by the handler pool, 1 to
   * 1000000, default 500. At the limit connections are not read until there is room.
   */
  queuedMaxRequests?: number;
  /**
   * Requests in handlers' hands, 1 to 10000000, default 65536; those whose reply waits for an
   * earlier one's count, too. At the limit nothing more is taken from the queue.
   */
  maxPendingRequests?: number;
  /**
   * Requests of one connection in handlers' hands at once, 1 to 1024, default 1 (Kafka's mute).
   * Replies leave in the order of the requests in any case: one that is ready before an earlier one
   * is copied and waits. Above 1, a connection may hold as many frames and as many waiting replies.
   */
  maxInFlightPerConnection?: number;
  /**
   * From how many bytes on that were given to a connection and have not left `connection.send()` returns
   * `false`; 1 to 2147483647, default 65536, as Node's streams have it since version 22.
   */
  sendHighWaterMarkBytes?: number;
  /**
   * Bytes given to a connection that have not left, 1 to 2^40, default 16777216; `Infinity` for no limit.
   * While there are as many, no further request of it is begun (until half of them have left), and one more
   * `connection.send()` closes it with `TOO_MANY_UNSENT_BYTES`. All connections together: see
   * `maxUnsentBytes`.
   */
  maxUnsentBytesPerConnection?: number;
  /** Give each body an ArrayBuffer of its own; default false (small ones share, as Node's do). */
  isolateBodies?: boolean;
  /**
   * Lend bodies from 16 KiB on instead of giving them away; default false. A handler may use such a
   * body until it has answered (an async one, until its promise settles); then its ArrayBuffer is
   * detached, which leaves the body empty, and the memory takes the next frame. Copy what is to be
   * kept, and await what still reads the body. Not together with `isolateBodies`; the js transport
   * lends nothing.
   */
  borrowBodies?: boolean;
  /** `'auto'` (default) takes the native transport where it loads, else `node:net`. */
  transport?: 'auto' | 'native' | 'js';
}

/** A listener with every default filled in. */
export interface Listener<State = unknown> {
  readonly index: number;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly backlog: number;
  readonly framing: Framing;
  readonly frameReplies: boolean;
  readonly framer: ReplyFramer;
  /** Without one requests go to the handler pool. */
  readonly handler: Handler<State> | null;
}

/** Options with every default filled in and every value checked. */
export interface Settings<State = unknown> {
  readonly listeners: Listeners<State>;
  readonly handlerPool: HandlerPoolSettings | null;
  readonly handlerTimeoutMs: number;
  readonly onConnect: SocketServerOptions<State>['onConnect'];
  readonly onDisconnect: SocketServerOptions<State>['onDisconnect'];
  readonly onHandlerError: SocketServerOptions<State>['onHandlerError'];
  readonly onOverload: Handler<State> | undefined;
  readonly networkThreads: number;
  readonly busyPollUs: number;
  readonly queuedMaxRequests: number;
  readonly maxPendingRequests: number;
  readonly maxInFlightPerConnection: number;
  readonly sendHighWaterMarkBytes: number;
  readonly maxUnsentBytesPerConnection: number;
  readonly isolateBodies: boolean;
  readonly borrowBodies: boolean;
  readonly limits: ChangeableLimits;
  readonly transport: 'auto' | 'native' | 'js';
}

/** The core's kMaxProcessors. */
export const maxNetworkThreads = 64;

/**
 * The most that `maxInFlightPerConnection` may be. Each place can hold a frame of `maxFrameBytes`
 * and a reply that waits, for every connection; one slow request holds up all replies behind it, so
 * a protocol that wants more of them wants no order.
 */
const maxInFlightBound = 1024;

const optionNames = [
  'listeners',
  'framing',
  'frameReplies',
  'handler',
  'handlerPool',
  'handlerTimeoutMs',
  'onConnect',
  'onDisconnect',
  'onHandlerError',
  'onOverload',
  'networkThreads',
  'busyPollUs',
  'queuedMaxRequests',
  'maxPendingRequests',
  'maxInFlightPerConnection',
  'sendHighWaterMarkBytes',
  'maxUnsentBytesPerConnection',
  'isolateBodies',
  'borrowBodies',
  ...limitNames,
  'transport',
] as const satisfies readonly (keyof SocketServerOptions)[];

const listenerOptionNames = [
  'name',
  'host',
  'port',
  'backlog',
  'framing',
  'frameReplies',
  'handler',
  ...listenerLimitNames,
] as const satisfies readonly (keyof ListenerOptions)[];

/** Checks every option and fills in the defaults, or throws `ERR_ODRADEK_INVALID_OPTION`. */
export function checkOptions<State>(options: SocketServerOptions<State>): Settings<State> {
  checkNames('SocketServer', options, optionNames);
  const { transport = 'auto' } = options;
  if (transport !== 'auto' && transport !== 'native' && transport !== 'js') {
    throw invalidOption('transport', "'auto', 'native' or 'js'", transport);
  }
  for (const hook of [
    'onConnect',
    'onDisconnect',
    'onHandlerError',
    'onOverload',
    'handler',
  ] as const) {
    checkType(hook, options[hook], 'function');
  }
  const listeners = checkListeners(options);
  if (options.onOverload !== undefined && options.handlerPool !== undefined) {
    const allowed = 'left out where there is a handlerPool: its module exports it';
    throw invalidOption('onOverload', allowed, options.onOverload);
  }
  return {
    listeners,
    handlerPool: options.handlerPool === undefined ? null : checkHandlerPool(options.handlerPool),
    handlerTimeoutMs: checkTimeout('handlerTimeoutMs', options.handlerTimeoutMs ?? 0),
    onConnect: options.onConnect,
    onDisconnect: options.onDisconnect,
    onHandlerError: options.onHandlerError,
    onOverload: options.onOverload,
    networkThreads: checkInteger(
      'networkThreads',
      options.networkThreads ?? defaultNetworkThreads(options.handlerPool !== undefined),
      0,
      maxNetworkThreads,
    ),
    busyPollUs: checkInteger('busyPollUs', options.busyPollUs ?? 0, 0, 10_000),
    queuedMaxRequests: checkInteger('queuedMaxRequests', options.queuedMaxRequests ?? 500, 1, 1e6),
    maxPendingRequests: checkInteger(
      'maxPendingRequests',
      options.maxPendingRequests ?? 65_536,
      1,
      1e7,
    ),
    maxInFlightPerConnection: checkInteger(
      'maxInFlightPerConnection',
      options.maxInFlightPerConnection ?? 1,
      1,
      maxInFlightBound,
    ),
    sendHighWaterMarkBytes: checkInteger(
      'sendHighWaterMarkBytes',
      options.sendHighWaterMarkBytes ?? 65_536,
      1,
      2_147_483_647,
    ),
    maxUnsentBytesPerConnection: checkCount(
      'maxUnsentBytesPerConnection',
      options.maxUnsentBytesPerConnection ?? 16_777_216,
      1,
      2 ** 40,
    ),
    ...checkBodies(options),
    limits: new ChangeableLimits(options, limited(listeners, options.listeners)),
    transport,
  };
}

/** What each listener may do by itself. */
function limited<State>(
  listeners: Iterable<Listener<State>>,
  options: readonly ListenerOptions<State>[],
): LimitedListener[] {
  return [...listeners].map(({ name, index }) => ({
    ...pickLimits(options[index] as ListenerOptions<State>),
    name,
  }));
}

/** @param hasPool handlers run on threads of their own */
export function defaultNetworkThreads(hasPool: boolean, cores = availableParallelism()): number {
  if (cores === 1 && !hasPool) return 0;
  return Math.max(1, Math.min(3, Math.floor(cores / 4)));
}

function checkBodies<State>(
  options: SocketServerOptions<State>,
): Pick<Settings<State>, 'isolateBodies' | 'borrowBodies'> {
  const isolateBodies = checkType('isolateBodies', options.isolateBodies, 'boolean') ?? false;
  const borrowBodies = checkType('borrowBodies', options.borrowBodies, 'boolean') ?? false;
  if (isolateBodies && borrowBodies) {
    throw invalidOption('borrowBodies', 'false where isolateBodies is true', borrowBodies);
  }
  return { isolateBodies, borrowBodies };
}

function checkListeners<State>(options: SocketServerOptions<State>): Listeners<State> {
  const { listeners } = options;
  const isFit =
    Array.isArray(listeners) && listeners.length > 0 && listeners.length <= maxListeners;
  if (!isFit)
    throw invalidOption('listeners', `an array of 1 to ${maxListeners} listeners`, listeners);
  return new Listeners(listeners, (listener, at, index) =>
    checkListener(listener, at, index, options),
  );
}

function checkListener<State>(
  listener: ListenerOptions<State>,
  at: string,
  index: number,
  options: SocketServerOptions<State>,
): Listener<State> {
  checkNames(at, listener, listenerOptionNames);
  const name = listener.name ?? 'PLAINTEXT';
  if (typeof name !== 'string' || name === '') {
    throw invalidOption(`${at}.name`, 'a non-empty string', name);
  }
  const host = listener.host ?? '127.0.0.1';
  if (typeof host !== 'string' || !isHost(host)) {
    throw invalidOption(`${at}.host`, 'an IP address or a host name', host);
  }
  const framing = listener.framing ?? options.framing ?? lengthPrefixed();
  if (!isFraming(framing)) {
    const makers = 'made by lengthPrefixed(), varintPrefixed(), delimited(), raw() or custom()';
    throw invalidOption(
      listener.framing === undefined ? 'framing' : `${at}.framing`,
      makers,
      framing,
    );
  }
  checkType('frameReplies', options.frameReplies, 'boolean');
  checkType(`${at}.frameReplies`, listener.frameReplies, 'boolean');
  const frameReplies = listener.frameReplies ?? options.frameReplies ?? true;
  if (frameReplies && framing.kind === 'lengthPrefixed' && framing.offset > 0) {
    throw new OdradekError(
      'ERR_ODRADEK_INVALID_OPTION',
      `${at}: a length field at an offset can't be put before replies; ` +
        `set frameReplies: false and let the handler frame them`,
    );
  }
  return {
    index,
    name,
    host,
    port: checkInteger(`${at}.port`, listener.port, 0, 65_535),
    backlog: checkInteger(`${at}.backlog`, listener.backlog ?? 511, 1, 65_535),
    framing,
    frameReplies,
    framer: makeReplyFramer(framing, frameReplies),
    handler: checkHandler(listener, at, framing, options),
  };
}

/** The listener's handler, or `null` where the pool handles its requests. */
function checkHandler<State>(
  listener: ListenerOptions<State>,
  at: string,
  framing: Framing,
  options: SocketServerOptions<State>,
): Handler<State> | null {
  checkType(`${at}.handler`, listener.handler, 'function');
  const handler = listener.handler ?? options.handler;
  if (options.handlerPool === undefined) {
    if (handler !== undefined) return handler;
    throw invalidOption('handler', `a function (${at} has none of its own)`, handler);
  }
  if (handler !== undefined) {
    const name = listener.handler === undefined ? 'handler' : `${at}.handler`;
    throw invalidOption(name, 'left out where there is a handlerPool', handler);
  }
  if (framing.kind === 'custom') {
    throw new OdradekError(
      'ERR_ODRADEK_INVALID_OPTION',
      `${at}: custom() framing is a function of this thread, which a handlerPool can't use`,
    );
  }
  return null;
}

function isHost(host: string): boolean {
  return isIP(host) !== 0 || /^(?!-)[A-Za-z0-9._-]{1,253}$/.test(host);
}
