import type { MessagePort, TransferListItem } from 'node:worker_threads';
import type { CloseCode } from '../close-reason.js';
import type { OdradekError } from '../errors.js';
import type { ServerRequest } from '../request.js';
import type { PackedError } from './error-crossing.js';

/**
 * How a thread gets its requests: a transport makes it, and has it taken up in the thread by
 * `attachHandler`.
 */
export interface Attachment {
  readonly kind: 'js' | 'native';
}

/** What a transport gives to one handler thread; each replacement gets a new one. */
export interface HandlerLink {
  /** Posted to the thread, with {@link transferList}. */
  readonly attachment: Attachment;
  readonly transferList: readonly TransferListItem[];
  /** Requests that the thread has begun and not answered. */
  readonly inFlight: number;
  readonly startedTotal: number;
  /** Gives the thread nothing more; resolves when it has answered what it had. */
  retire(): Promise<void>;
  /**
   * The thread is gone, or about to be: what it had begun fails with `error`, the rest goes back to
   * the head of the queue.
   */
  detach(error: OdradekError): Detached;
}

/** What became of a lost thread's requests. */
export interface Detached {
  /** Requests that it had begun: they have failed. */
  readonly started: number;
  /** Requests that it had and had not begun: another thread gets them. */
  readonly requeued: number;
}

/** Why a connection ends whose request failed with its thread, and got no reply. */
export function lossCode(error: OdradekError): CloseCode {
  return error.code === 'ERR_ODRADEK_HANDLER_TIMEOUT' ? 'HANDLER_TIMEOUT' : 'HANDLER_LOST';
}

/** The transport's side of a pool. */
export interface HandlerLinks {
  link(thread: number): HandlerLink;
  /**
   * The pool gives up a thread's place: what belongs to it goes to the others. Its link, if it has one
   * at this moment, is retired next.
   */
  remove(thread: number): void;
}

/** What threads leave to the server's thread, where they claim their requests by themselves. */
export interface HandlerLinksEvents<State> {
  /** A request failed in its handler: makes the reply. See `InThreadHandlerPool.makeErrorReply`. */
  makeErrorReply(request: ServerRequest<State>, error: unknown): unknown;
  /** A request whose thread is lost fails. */
  fail(request: ServerRequest<State>, error: unknown): void;
  /** Something went wrong that no request can fail for. */
  mistake(error: unknown): void;
}

/** A thread of the pool was lost: the event `handlerThreadLost`. */
export interface HandlerThreadLoss extends Detached {
  /** The thread's number. */
  readonly thread: number;
  /**
   * `ERR_ODRADEK_HANDLER_LOST`, `ERR_ODRADEK_HANDLER_TIMEOUT` (it was blocked), or
   * `ERR_ODRADEK_HANDLER_MODULE` (a replacement could not be set up).
   */
  readonly error: OdradekError;
  /** In how many milliseconds the next one is started; `null` where the pool needs none any more. */
  readonly restartInMs: number | null;
}

export interface HandlerThreadsEvents {
  lost(loss: HandlerThreadLoss): void;
  teardownFailed(error: unknown): void;
}

/** What a thread is born with: its `workerData`. */
export interface ThreadData {
  readonly control: MessagePort;
  /** The URL of the handlers' module. */
  readonly module: string;
  readonly thread: number;
  readonly data: unknown;
  /** Shared with the server's thread, see {@link threadStatus}. */
  readonly status: Int32Array;
  /** For its `HandlerTimes`, which the server's thread reads. */
  readonly times: SharedArrayBuffer;
  readonly refusalMemory: SharedArrayBuffer;
}

/** Places in `ThreadData.status`. */
export const threadStatus = {
  /** The last ping that the thread's event loop has taken. */
  pong: 0,
} as const;

/** What the server's thread says on the control port. */
export type ToThread =
  | { readonly kind: 'attach'; readonly attachment: Attachment }
  | { readonly kind: 'ping'; readonly count: number }
  | { readonly kind: 'stop' };

/** What the thread says there. */
export type FromThread =
  | { readonly kind: 'ready' }
  /** It takes requests from here on. */
  | { readonly kind: 'attached' }
  /** The module can't be used: the thread ends. */
  | { readonly kind: 'unusable'; readonly error: PackedError }
  /** Its end goes on. */
  | { readonly kind: 'teardownFailed'; readonly error: PackedError };
