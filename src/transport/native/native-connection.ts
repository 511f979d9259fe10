import { type Endpoints, ServerConnection } from '../../connection.js';
import type { Framing } from '../../framing.js';
import type { Listener } from '../../options.js';
import type { ServerRequest } from '../../request.js';
import type { Transport } from '../../transport.js';
import type { CustomInput } from './custom-input.js';

/** A change of framing under way. */
export interface Reframing<State> {
  framing: Framing;
  /** Requests to be cut anew, oldest first. */
  unread: ServerRequest<State>[];
  /** Input of a `custom` framing that no request was made of. */
  rest: Uint8Array[];
}

/** A connection of the core, known by its processor, slot and generation. */
export class NativeConnection<State = unknown> extends ServerConnection<State> {
  readonly processor: number;
  readonly slot: number;
  readonly generation: number;
  /** What `close(detail)` said. */
  closeDetail: string | undefined = undefined;
  /** The input, where TypeScript cuts it (`custom`). */
  custom: CustomInput<State> | null = null;
  /** The requests that crossed are all that will until they are settled. */
  isComplete = true;
  /** Set while `setFraming` waits for requests that were cut before it and are still to cross. */
  reframing: Reframing<State> | null = null;
  /** Numbers for replies to `custom` requests whose fate is asked for; sequences count pieces. */
  nextCookie = 0;
  /** Replies whose fate somebody asked for, by the number that the core gives back. */
  readonly awaitingSent = new Map<number, ServerRequest<State>>();
  /** Somebody was told the fate of a reply. */
  hasToldSent = false;

  constructor(
    transport: Transport<State>,
    listener: Listener<State>,
    endpoints: Endpoints,
    processor: number,
    index: number,
    slot: number,
    generation: number,
  ) {
    super(transport, listener, endpoints, processor, index);
    this.processor = processor;
    this.slot = slot;
    this.generation = generation;
  }
}
