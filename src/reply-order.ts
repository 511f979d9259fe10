import type { CloseCode } from './close-reason.js';
import { Fifo } from './fifo.js';
import type { ServerRequest } from './request.js';

/** A reply that waits for those before it. */
export interface HeldReply<State> {
  readonly request: ServerRequest<State>;
  readonly bytes: Uint8Array | null;
  readonly closeCode: CloseCode | null;
}

/**
 * The order of one connection's replies, where several of its requests may be in flight. It has the
 * requests that were started, oldest first, and the replies that came before their turn: at most
 * `maxInFlightPerConnection` of both, since a request whose reply is held keeps its place.
 *
 * A held reply is a copy: its bytes may be the program's, which uses them anew once it has
 * returned them, and it is not known when their turn comes.
 */
export class ReplyOrder<State> {
  readonly #started = new Fifo<ServerRequest<State>>();
  readonly #held = new Map<ServerRequest<State>, HeldReply<State>>();

  /** The started request that is to be answered next. */
  get first(): ServerRequest<State> | undefined {
    return this.#started.first;
  }

  /** Whether requests started before this one are still to be answered. */
  isBehind(request: ServerRequest<State>): boolean {
    return this.#started.indexOf(request) > 0;
  }

  start(request: ServerRequest<State>): void {
    this.#started.push(request);
  }

  /** Keeps a reply until it is the {@link first} one's. Where memory is refused, it is a close. */
  hold(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): HeldReply<State> {
    let held: HeldReply<State>;
    try {
      held = { request, bytes: bytes === null ? null : copyOf(bytes), closeCode };
    } catch {
      held = { request, bytes: null, closeCode: 'OUT_OF_MEMORY' };
    }
    this.#held.set(request, held);
    return held;
  }

  /** The first request is answered: on to the one behind it, and to its reply if that is held. */
  next(): HeldReply<State> | undefined {
    this.#started.shift();
    const { first } = this.#started;
    if (first === undefined || this.#held.size === 0) return undefined;
    const held = this.#held.get(first);
    if (held !== undefined) this.#held.delete(first);
    return held;
  }

  /** Nothing of it will be sent any more. */
  clear(): void {
    this.#started.clear();
    this.#held.clear();
  }
}

/** Bytes whose memory was transferred away have length 0, and copying them would throw. */
function copyOf(bytes: Uint8Array | readonly Uint8Array[]): Uint8Array {
  const parts = bytes instanceof Uint8Array ? [bytes] : bytes;
  let length = 0;
  for (const part of parts) length += part.byteLength;
  const copy = Buffer.allocUnsafe(length);
  let at = 0;
  for (const part of parts) {
    if (part.byteLength > 0) copy.set(part, at);
    at += part.byteLength;
  }
  return copy;
}
