import type { MessagePort } from 'node:worker_threads';
import type { CloseCode } from '../../close-reason.js';
import type { PackedError } from '../../handler-pool/error-crossing.js';
import type { PackedReply } from '../../handler-pool/reply-crossing.js';
import type { NativeFraming } from './binding.js';
import type { Target } from './command-table.js';

/**
 * How a thread is attached to the native transport: it claims requests from the core and gives its
 * replies to the core. The port is for what is rare.
 */
export interface NativeAttachment {
  readonly kind: 'native';
  readonly port: MessagePort;
  /** By which the core's handler is found. */
  readonly number: number;
  /** Requests that the thread may have claimed, and so the size of its marks. */
  readonly capacity: number;
  /** Connections, throttled or owing too much, of which the thread may have requests that it doesn't begin. */
  readonly mostHeldBack: number;
  readonly concurrency: number;
  readonly affinity: 'any' | 'connection';
  readonly isolateBodies: boolean;
  readonly borrowBodies: boolean;
  readonly maxInFlightPerConnection: number;
  readonly sendHighWaterMarkBytes: number;
  readonly maxUnsentBytesPerConnection: number;
  readonly handlerTimeoutMs: number;
  readonly listeners: readonly NativeListenerFacts[];
}

/** What a thread needs to know of a listener. */
export interface NativeListenerFacts {
  readonly index: number;
  readonly name: string;
  readonly framing: NativeFraming;
  readonly frameReplies: boolean;
}

/** What the thread says on the port. */
export type FromNativeHandler =
  /** A handler failed: the hooks are asked for a reply. */
  | {
      readonly kind: 'failed';
      readonly id: number;
      readonly connection: Target;
      readonly sequence: number;
      readonly body: Uint8Array;
      readonly receivedAt: number;
      readonly error: PackedError;
    }
  /** Something went wrong that no request can fail for. */
  | { readonly kind: 'mistake'; readonly error: PackedError }
  /** What `close(detail)` said. It is posted before the core knows of the close. */
  | { readonly kind: 'closing'; readonly connection: Target; readonly detail: string }
  | {
      readonly kind: 'framing';
      readonly connection: Target;
      readonly framing: NativeFraming;
    }
  /** It has answered what it had, and claims nothing more. */
  | { readonly kind: 'retired' };

/** What the server's thread says there. */
export type ToNativeHandler =
  /** What `onHandlerError` made; `null` is nothing. */
  | { readonly kind: 'errorReply'; readonly id: number; readonly reply: PackedReply | null }
  | { readonly kind: 'retire' }
  /** One more listener, before its first connection. */
  | { readonly kind: 'listener'; readonly listener: NativeListenerFacts }
  /** The server has ended, and its connections with it. */
  | { readonly kind: 'end'; readonly code: CloseCode };
