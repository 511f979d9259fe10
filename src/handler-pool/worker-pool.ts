import type { ServerConnection } from '../connection.js';
import { OdradekError } from '../errors.js';
import type { Settings } from '../options.js';
import type { ServerRequest } from '../request.js';
import type { Transport } from '../transport.js';
import { HandlerThreads } from './handler-threads.js';
import type { HandlerRunner } from './in-thread-handler-pool.js';
import { MessageLinks } from './message-links.js';
import type { HandlerThreadLoss } from './thread-protocol.js';

/** Handlers on threads of their own, as the server sees them. */
export interface WorkerPool<State> {
  readonly threads: HandlerThreads;
  /** Runs the handlers of the requests that come to the server's thread. */
  readonly runner: HandlerRunner<State>;
  /** See `TransportEvents.admits`. */
  admits(request: ServerRequest<State>): boolean;
  /** The connection has ended. */
  forget(connection: ServerConnection<State>): void;
}

export interface WorkerPoolEvents<State> {
  /** A thread has the request from here on. */
  given(request: ServerRequest<State>): void;
  /** The thread was lost before it had begun the request. */
  takenBack(request: ServerRequest<State>): void;
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
  const { handlerPool, handlerTimeoutMs } = settings;
  if (handlerPool === null) return null;
  if (transport.kind === 'native') {
    throw new OdradekError(
      'ERR_ODRADEK_INVALID_OPTION',
      "handlerPool needs transport: 'js' until the native one has handler threads",
    );
  }
  const links = new MessageLinks<State>(handlerPool, {
    given: (request) => events.given(request),
    takenBack: (request) => events.takenBack(request),
    hasRoom: () => transport.admitAgain(),
    mistake: (error) => events.failed(error),
  });
  const threads = new HandlerThreads(handlerPool, handlerTimeoutMs, links, {
    lost: (loss) => events.lost(loss),
    teardownFailed: (error) => events.failed(error),
  });
  return {
    threads,
    runner: links,
    admits: (request) => links.admits(request),
    forget: (connection) => links.forget(connection),
  };
}
