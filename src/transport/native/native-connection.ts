import type { CloseCode } from '../../close-reason.js';
import { type Endpoints, ServerConnection } from '../../connection.js';
import type { Awaited, Expirable } from '../../expiry.js';
import type { Framing } from '../../framing.js';
import type { Listener } from '../../options.js';
import type { ServerRequest } from '../../request.js';
import type { ConnectionTransport } from '../../transport.js';
import type { CustomInput } from './custom-input.js';
import type { Outflow } from './outflow.js';

/** A change of framing under way. */
export interface Reframing<State> {
  framing: Framing;
  /** Requests to be cut anew, oldest first. */
  unread: ServerRequest<State>[];
  /** Input of a `custom` framing that no request was made of. */
  rest: Uint8Array[];
}

/** What few connections of the core need. */
class NativeExtras<State> {
  /** What `close(detail)` said. */
  closeDetail: string | undefined = undefined;
  /** Where the core stopped to cut: none crosses that stands there. */
  heldAt: number | null = null;
  /** Numbers for replies to `custom` requests whose fate is asked for; sequences count pieces. */
  nextCookie = 0;
  /** Replies whose fate somebody asked for, by the number that the core gives back. */
  readonly awaitingSent = new Map<number, ServerRequest<State>>();
  /** Requests that a lost thread had claimed behind those that fail here, by their sequences. */
  waiting: number[] = [];
  /** Somebody was told the fate of a reply. */
  hasToldSent = false;
  /** From the first push on; and where much was given lately, until it has left. */
  outflow: Outflow | null = null;
  /** See {@link NativeConnection.awaited}. */
  since = 0;
}

/** A connection of the core, known by its processor, slot and generation. */
export class NativeConnection<State = unknown>
  extends ServerConnection<State>
  implements Expirable
{
  readonly slot: number;
  readonly generation: number;
  /** The input, where TypeScript cuts it (`custom`). */
  custom: CustomInput<State> | null = null;
  /** That one, and those before it whose pieces the core still counts; oldest first. */
  inputs: CustomInput<State>[] | null = null;
  /** The requests that crossed are all that will until they are settled, or until {@link reframed}. */
  isComplete = true;
  /** Where the next request stands that has not crossed. */
  #arrived = 0;
  /** Set while `setFraming` waits for requests that were cut before it and are still to cross. */
  reframing: Reframing<State> | null = null;
  /** The sequence of the first request that the core was not told to settle. */
  nextReply = 0;
  /** Without an {@link Outflow}: bytes given since all had left for certain. */
  given = 0;
  extras: NativeExtras<State> | null = null;

  constructor(
    transport: ConnectionTransport<State>,
    listener: Listener<State>,
    endpoints: Endpoints,
    processor: number,
    index: number,
    slot: number,
    generation: number,
  ) {
    super(transport, listener, endpoints, processor, index);
    this.slot = slot;
    this.generation = generation;
  }

  /** The extras, to be written to. */
  get more(): NativeExtras<State> {
    this.extras ??= new NativeExtras();
    return this.extras;
  }

  get hasWaiting(): boolean {
    return this.extras !== null && this.extras.waiting.length > 0;
  }

  /** What the core can't know: the client has sent a part of a `custom` frame. */
  awaited(): Awaited | null {
    const { custom } = this;
    if (custom === null || this.closing || this.ended) return null;
    if (this.inFlight > 0 || this.hasBacklog || custom.decoder.isEmpty) return null;
    if (this.isHeldBack) return null;
    return 'restOfFrame';
  }

  get heldBytes(): number {
    return this.custom?.decoder.bytes ?? 0;
  }

  /** The core doesn't tell. */
  readonly unreadMs = 0;

  get since(): number {
    return this.extras?.since ?? 0;
  }

  set since(ms: number) {
    this.more.since = ms;
  }

  expire(code: CloseCode): void {
    this.closeWith(code);
  }

  /** From now on TypeScript cuts its input. */
  cutBy(input: CustomInput<State>): void {
    this.custom = input;
    this.inputs ??= [];
    this.inputs.push(input);
  }

  /** Another thread has changed the framing. */
  reframe(framing: Framing): void {
    this.useFraming(framing);
  }

  /** It was closed by another thread, or by a reply that had to wait: nothing more is started. */
  cut(code: CloseCode): void {
    if (this.beginCut()) this.abort(new Error(`the connection was closed: ${code}`));
  }

  /** Nobody will be told of the replies that are still under way: the connection has ended. */
  forgetSent(code: CloseCode): void {
    if (this.extras === null) return;
    for (const request of this.extras.awaitingSent.values()) {
      request.settleSent({ ok: false, reason: code });
      this.extras.hasToldSent = true;
    }
    this.extras.awaitingSent.clear();
  }

  /** A request has crossed; `isLast`: the core says that no further one comes. */
  arrived(sequence: number, isLast: boolean): void {
    this.#arrived = (sequence + 1) >>> 0;
    this.isComplete = isLast || this.#arrived === this.extras?.heldAt;
  }

  /** The core cuts nothing more: the requests before `sequence` are all. */
  held(sequence: number): void {
    this.more.heldAt = sequence;
    this.isComplete = this.#arrived === sequence;
  }

  /** `withdrawn` requests go back to the core, to be cut by another framing. */
  reframed(withdrawn: number): void {
    this.#arrived = (this.#arrived - withdrawn) >>> 0;
    if (this.extras !== null) this.extras.heldAt = null;
  }
}
