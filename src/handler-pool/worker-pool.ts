import type { ServerConnection } from '../connection.js';
import type { Settings } from '../options.js';
import type { ServerRequest } from '../request.js';
import type { Transport } from '../transport.js';
import { HandlerThreads } from './handler-threads.js';
import type { HandlerRunner } from './in-thread-handler-pool.js';
import { MessageLinks } from './message-links.js';
import type { HandlerLinks, HandlerThreadLoss } from './thread-protocol.js';

/** Handlers on threads of their own, as the server sees them. */
export interface WorkerPool<State> {
  readonly threads: HandlerThreads;
  /** Runs the handlers of the requests that come to the server's thread; of the native transport none. */
  readonly runner: HandlerRunner<State> | undefined;
  /** See `TransportEvents.admits`. */
  admits(request: ServerRequest<State>): boolean;
  /** Requests that threads have begun past the server's thread. */
  inFlight(): number;
  /** The connection has ended. */
  forget(connection: ServerConnection<State>): void;
}

export interface WorkerPoolEvents<State> {
  /** A thread has the request from here on. */
  given(request: ServerRequest<State>): void;
  /** The thread was lost before it had begun the request. */
  takenBack(request: ServerRequest<State>): void;
  /** A request that a thread had begun fails on the server's thread. */
  fail(request: ServerRequest<State>, error: unknown): void;
  /** A request has failed in its thread: makes the reply. */
  makeErrorReply(request: ServerRequest<State>, error: unknown): unknown;
  lost(loss: HandlerThreadLoss): void;
  /** Something went wrong that no request can fail for. */
  failed(error: unknown): void;
}

/** Makes the pool that the settings ask for, `null` where they ask for none. */
export function makeWorkerPool<State>(
  settings: Settings<State>,
  transport: Transport<State>,
  events: WorkerPoolEvents<State>,
): WorkerPool<State> | null {
  const { handlerPool, handlerTimeoutMs, sendHighWaterMarkBytes } = settings;
  if (handlerPool === null) return null;
  const mistake = (error: unknown) => events.failed(error);
  const threadsOver = (links: HandlerLinks) =>
    new HandlerThreads(handlerPool, handlerTimeoutMs, links, {
      lost: (loss) => events.lost(loss),
      teardownFailed: mistake,
    });
  const ownLinks = transport.links({
    makeErrorReply: (request, error) => events.makeErrorReply(request, error),
    fail: (request, error) => events.fail(request, error),
    mistake,
  });
  if (ownLinks !== null) {
    const threads = threadsOver(ownLinks);
    return {
      threads,
      runner: undefined,
      admits: () => true,
      inFlight: () => threads.metrics().reduce((sum, { inFlight }) => sum + inFlight, 0),
      forget: () => undefined,
    };
  }
  const links = new MessageLinks<State>(handlerPool, sendHighWaterMarkBytes, {
    given: (request) => events.given(request),
    takenBack: (request) => events.takenBack(request),
    hasRoom: () => transport.admitAgain(),
    mistake,
  });
  return {
    threads: threadsOver(links),
    runner: links,
    admits: (request) => links.admits(request),
    // These are in flight on the server's thread, too.
    inFlight: () => 0,
    forget: (connection) => links.forget(connection),
  };
}
