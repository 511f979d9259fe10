import type { CloseCode, CloseReason } from './close-reason.js';
import type { ServerConnection } from './connection.js';
import type { Framing } from './framing.js';
import type { HandlerLinks, HandlerLinksEvents } from './handler-pool/thread-protocol.js';
import type { Limits } from './limits.js';
import type { TransportMetrics } from './metrics.js';
import type { Listener } from './options.js';
import type { ServerRequest } from './request.js';
import type { TransportTimes } from './request-times.js';

/** Where a listener is bound. */
export interface Address {
  /** The IP address, also where the listener's option was a name. */
  readonly host: string;
  /** The port, also where the option was 0. */
  readonly port: number;
}

/**
 * What carries the bytes: the native reactor, or `node:net`. Every call is made on the JavaScript
 * thread that owns the server. None of them blocks, and none throws but those that return promises.
 */
export interface Transport<State = unknown> {
  readonly kind: 'native' | 'js';

  /** Opens every listener and resolves when every loop runs; or closes all again and rejects. */
  start(): Promise<void>;

  /**
   * Serves with as many threads from now on, and resolves when those that are too many have ended; or
   * rejects, and nothing has changed. Not called again before.
   */
  resizeNetworkThreads(threads: number): Promise<void>;

  /** Other limits from now on. */
  updateLimits(limits: Limits): void;

  /** Where a listener is bound, while it is. */
  address(listener: Listener<State>): Address | undefined;

  /**
   * Opens one more listener while the others serve, and resolves when it accepts; or rejects, also
   * where the end has begun meanwhile, and nothing of it is open. Its limits were told before.
   */
  addListener(listener: Listener<State>): Promise<void>;

  /**
   * Closes a listener: serves or closes accepted sockets still queued, reads nothing more from its
   * connections, and closes each in order, with `LISTENER_REMOVED`, when it is done.
   */
  drainListener(listener: Listener<State>): void;

  /** Closes what is left of its connections at once, with `DEADLINE`. */
  cutListener(listener: Listener<State>): void;

  /**
   * Connections that the listener has, among them such as were not reported yet; and the replies to
   * them since {@link drainListener}, once all have ended.
   */
  listenerCounts(listener: Listener<State>): { connections: number; answered: number };

  /**
   * Sends a request's answer. Called once for each request that was received, in the order of each
   * connection's requests. `bytes` are framed by `request.framer` and read before the call
   * returns (or referenced where they were born in the core); `null` sends nothing. With a
   * `closeCode` the connection is closed in order once this reply has left.
   */
  reply(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void;

  /** What was given to {@link reply} since the last call was there at this moment of `performance.now()`. */
  givenAt(now: number): void;

  /** A handler gets a request: it counts against `maxPendingRequests` until {@link settled}. */
  started(): void;

  /** A request's reply is given to {@link reply}, or its connection has ended. */
  settled(): void;

  /** Requests that the handler pool did not admit may be admitted now. */
  admitAgain(): void;

  /** Settles a request that no handler will see, since its connection is closing or gone. */
  discard(request: ServerRequest<State>): void;

  /**
   * What the threads of a handler pool attach to, where they claim requests by themselves and answer
   * them past this thread; else `null`.
   */
  links(events: HandlerLinksEvents<State>): HandlerLinks | null;

  /** Ends a turn: everything given since the last flush goes out together. */
  flush(): void;

  /**
   * `onConnect` accepted the connection: send the greeting (framed by the connection's framer),
   * then start reading. Called only where the server has an `onConnect`.
   */
  accept(connection: ServerConnection<State>, greeting: Uint8Array | null): void;

  /** Closes a connection in order: what was given before leaves first. */
  close(connection: ServerConnection<State>, code: CloseCode, detail?: string): void;

  /** From how many unsent bytes on `connection.send()` says so. */
  readonly sendHighWaterMarkBytes: number;

  /** From how many on a further one closes the connection, and no request of it is begun. */
  readonly maxUnsentBytesPerConnection: number;

  /**
   * Sends bytes that answer no request, framed by the connection's framer and read before the call
   * returns; how many of its bytes have not left, as far as is known. The connection's `left()` hears
   * of it when they do.
   */
  send(connection: ServerConnection<State>, bytes: Uint8Array | readonly Uint8Array[]): number;

  /**
   * Reads nothing of the connection for so many milliseconds, or until the connection or the server
   * begins to end. {@link TransportEvents.holdEnded} says when, if the connection's
   * `holdBegan()` was called here.
   */
  throttle(connection: ServerConnection<State>, ms: number): void;

  /**
   * Changes the framing of what follows. `unread` are the connection's requests that crossed and
   * were not started: their frames' bytes are to be framed anew, before anything read later.
   */
  setFraming(
    connection: ServerConnection<State>,
    framing: Framing,
    unread: readonly ServerRequest<State>[],
  ): void;

  /**
   * Begins the end: closes the listeners, serves or closes accepted sockets still queued, reads
   * nothing more, finishes what was received and closes each connection in order as it gets done.
   */
  drain(): void;

  /** Ends at once: closes every connection with `code` and lets go of everything. Idempotent. */
  destroy(code: CloseCode): void;

  /** Closes, in order, the connections on which nothing is under way. */
  closeIdle(): void;

  /** Connections whose opening was reported and whose end was not. */
  connections(): Iterable<ServerConnection<State>>;

  /** Connections that its loops have, among them such as were not reported yet. */
  readonly openConnections: number;

  /**
   * For how long, in milliseconds, the longest waiting has waited now: a request in the queue, or a
   * connection for room there or for memory. 0: nobody waits.
   */
  longestWaitMs(): number;

  metrics(): TransportMetrics;
  /** What was recorded of replies and throttles so far. */
  times(): TransportTimes;
  ref(): void;
  unref(): void;
}

/** As much of a transport as a connection needs. */
export type ConnectionTransport<State> = Pick<
  Transport<State>,
  | 'close'
  | 'discard'
  | 'setFraming'
  | 'throttle'
  | 'send'
  | 'sendHighWaterMarkBytes'
  | 'maxUnsentBytesPerConnection'
>;

/** As much of it as whoever runs the handlers needs. */
export type HandlerTransport<State> = Pick<
  Transport<State>,
  'reply' | 'givenAt' | 'discard' | 'started' | 'settled' | 'flush'
>;

/** What a transport tells the server, on the JavaScript thread. */
export interface TransportEvents<State = unknown> {
  /** Comes before anything else about the connection. */
  connectionOpened(connection: ServerConnection<State>): void;
  /**
   * Whether the handler pool can begin a request at this moment. One that it can't stays in the
   * queue, and the pool calls {@link Transport.admitAgain} later.
   */
  admits(request: ServerRequest<State>): boolean;
  /** One complete frame. Frames of a connection come in order. */
  requestReceived(request: ServerRequest<State>): void;
  /** The transport has delivered all that it had for this turn. */
  turnEnded(): void;
  /** Neither a throttle nor what it owes holds it back: what was received meanwhile may be started. */
  holdEnded(connection: ServerConnection<State>): void;
  /** The client is gone (reset): replies will not reach it. What was received is still handled. */
  connectionReset(connection: ServerConnection<State>): void;
  /** The socket is closed and every request of the connection has been settled. Exactly once. */
  connectionClosed(connection: ServerConnection<State>, reason: CloseReason): void;
  /** A socket could not be accepted (descriptors or memory ran out); the listener goes on. */
  acceptError(error: NodeJS.ErrnoException, listener: string): void;
  /** A loop had to end. Its connections are closed. */
  fatal(error: Error): void;
}
