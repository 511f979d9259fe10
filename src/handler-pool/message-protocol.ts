import type { MessagePort } from 'node:worker_threads';
import type { Framing } from '../framing.js';
import type { SentOutcome } from '../request.js';
import type { PackedError } from './error-crossing.js';
import type { PackedReply } from './reply-crossing.js';

/** How a thread is attached to the js transport: requests and replies are messages. */
export interface MessageAttachment {
  readonly kind: 'js';
  readonly port: MessagePort;
  /** Shared, see {@link linkStatus}. */
  readonly status: Int32Array;
  readonly sendHighWaterMarkBytes: number;
}

/**
 * Places in `MessageAttachment.status`. A thread that is given up may still run: it writes `started`
 * and then looks at `detached`, the other side does both in the opposite order, so that a request is
 * never both begun there and given to another thread.
 */
export const linkStatus = {
  /** The last request that the thread has begun. */
  started: 0,
  /** 1 as soon as the thread may begin nothing more. */
  detached: 1,
} as const;

/** What a thread is told of a connection with its first request. */
export interface ConnectionFacts {
  readonly id: string;
  readonly listener: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

export interface RequestMessage {
  readonly kind: 'request';
  /** Counted from 1 by the link. */
  readonly id: number;
  /** The connection's number on this link. */
  readonly connection: number;
  /** With the connection's first request on this link. */
  readonly facts: ConnectionFacts | null;
  readonly body: Uint8Array;
  readonly receivedAt: number;
}

/** From the server's thread. */
export type ToHandler =
  | RequestMessage
  | { readonly kind: 'abort'; readonly id: number; readonly reason: PackedError }
  | { readonly kind: 'sent'; readonly id: number; readonly outcome: SentOutcome }
  /** So many of the bytes that the thread has pushed have left, or might as well have. */
  | { readonly kind: 'pushed'; readonly connection: number; readonly bytes: number }
  /** Nothing more will come about this connection. */
  | { readonly kind: 'ended'; readonly connection: number };

/** From a handler's thread. */
export type FromHandler =
  /** The handler takes its time: another request may be begun. */
  | { readonly kind: 'started'; readonly id: number }
  | {
      readonly kind: 'answer';
      readonly id: number;
      readonly reply: PackedReply;
      /** When it was there: `performance.now()` has one scale for all threads. */
      readonly readyAt: number;
    }
  | { readonly kind: 'failed'; readonly id: number; readonly error: PackedError }
  /** A promise of a handler's has settled twice: its request has been answered. */
  | { readonly kind: 'mistake'; readonly error: PackedError }
  | { readonly kind: 'watchSignal'; readonly id: number }
  | { readonly kind: 'watchSent'; readonly id: number }
  | { readonly kind: 'push'; readonly connection: number; readonly bytes: Uint8Array }
  | { readonly kind: 'throttle'; readonly id: number; readonly ms: number }
  | { readonly kind: 'close'; readonly connection: number; readonly detail: string | undefined }
  /** Where it is refused, the request fails for that. */
  | { readonly kind: 'setFraming'; readonly id: number; readonly framing: Framing };
