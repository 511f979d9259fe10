import type { CloseCode } from './close-reason.js';
import { describe, OdradekError } from './errors.js';
import { type Framing, isFraming } from './framing.js';
import type { Listener } from './options.js';
import { checkPush, pushedTooLate } from './push.js';
import { lengthOf } from './reply.js';
import { makeReplyFramer, type ReplyFramer } from './reply-framer.js';
import type { ReplyOrder } from './reply-order.js';
import type { ServerRequest } from './request.js';
import { SendGauge } from './send-gauge.js';
import type { ConnectionTransport } from './transport.js';

/** A client's connection, as handlers and hooks see it. */
export interface Connection<State = unknown> {
  /** Kafka's form: `localHost:localPort-remoteHost:remotePort-processor-index`, unique in a server. */
  readonly id: string;
  /** The name of the listener that accepted it. */
  readonly listener: string;
  /** The client's IP address, `'127.0.0.1'` or `'::1'`. */
  readonly remoteAddress: string;
  /** The client's port. */
  readonly remotePort: number;
  /** Whatever the service keeps per connection; `undefined` until the service sets it. */
  state: State;
  /**
   * Closes the connection in order: replies already given leave first. Requests still in a
   * handler's hands, and those behind them, get no answer (the reason's `unanswered` counts them);
   * their signals abort. Idempotent.
   *
   * @param detail goes into the reason's message
   */
  close(detail?: string): void;
  /**
   * Pushes bytes to the client outside of request and response: framed as replies are, behind what was
   * given before, at any moment until the connection closes. Replies that wait for earlier ones
   * were not given yet. The bytes are copied before the call returns.
   *
   * @returns as a Writable's `write()`: `false` once `sendHighWaterMarkBytes` of what was given, replies
   *   included, have not left. They are kept all the same; await {@link drained} before giving more.
   *   Where `maxUnsentBytesPerConnection` have not left, the connection is closed instead.
   * @throws OdradekError `ERR_ODRADEK_CONNECTION_CLOSED` if it is closing or has ended,
   *   `ERR_ODRADEK_REPLY_TOO_LARGE` if the framing can't say their length,
   *   `ERR_ODRADEK_INVALID_ARGUMENT` if they are no bytes
   */
  send(bytes: Uint8Array | readonly Uint8Array[]): boolean;
  /**
   * Resolves when, after {@link send} returned `false`, half of `sendHighWaterMarkBytes` or less has
   * not left; at once where it didn't; and when the connection ends. Never rejects.
   */
  drained(): Promise<void>;
  /**
   * Changes the framing of everything that follows the request being handled, for protocols that
   * negotiate. Allowed in `onConnect` and while a request of this connection is in its handler's
   * hands. Replies to requests already started keep the framing that they came with.
   *
   * With `maxInFlightPerConnection` above 1, requests behind the one being handled may have been
   * started: then it is allowed in the synchronous part of a handler, where none has, and later only
   * while no other request of the connection is in flight.
   *
   * @throws OdradekError `ERR_ODRADEK_SET_FRAMING` at any other moment,
   *   `ERR_ODRADEK_INVALID_ARGUMENT` if `framing` is not one
   */
  setFraming(framing: Framing): void;
}

/** Where a connection came from and went to. */
export interface Endpoints {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/** This side's end: the connections of a listener have one or few of them between them. */
interface LocalEnd {
  readonly address: string;
  readonly port: number;
}

let lastLocalEnd: LocalEnd = { address: '', port: 0 };

function localEnd(address: string, port: number): LocalEnd {
  if (lastLocalEnd.address !== address || lastLocalEnd.port !== port) {
    lastLocalEnd = { address, port };
  }
  return lastLocalEnd;
}

/** What few connections need, or none before its end. */
class Extras<State> {
  /** In place of the listener's. */
  framing: Framing | null = null;
  isCut = false;
  endCode: CloseCode | undefined = undefined;
  abortReason: Error | undefined = undefined;
  watched: Set<ServerRequest<State>> | null = null;
  /** Throttles, and times that it owed too much, whose end the transport has not told. */
  holds = 0;
  /** From its first push on. */
  gauge: SendGauge | null = null;
}

/**
 * The connection as the server sees it. Each transport has a subclass with what it needs to find
 * its own end again; the handler pool keeps the order of work here.
 *
 * Most connections of a server are idle, and a field costs each of them 8 bytes, a collection 100 and
 * more: what an idle one doesn't need is made with its first use.
 */
export class ServerConnection<State = unknown> implements Connection<State> {
  readonly listenerConfig: Listener<State>;
  state = undefined as State;
  framer: ReplyFramer;
  /** Requests that were started and whose replies the transport has not got. */
  inFlight = 0;
  /** Where more than one may be in flight: from the first request on. */
  order: ReplyOrder<State> | null = null;
  /** A handler of it is running at this moment, in its synchronous part. */
  isStarting = false;
  /** Requests that crossed to this thread and wait for those before them; `null`: none. */
  #backlog: ServerRequest<State>[] | null = null;
  /** `onConnect` has not settled yet, so no request may start. */
  connecting = false;
  /** No further request is started; set by a reply that closes, `close()` or a failed handler. */
  closing = false;
  /** The transport has reported the end of this connection. */
  ended = false;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** The number of the loop that opened it. */
  readonly processor: number;
  readonly #index: number;
  readonly #local: LocalEnd;
  readonly #transport: ConnectionTransport<State>;
  #extras: Extras<State> | null = null;

  constructor(
    transport: ConnectionTransport<State>,
    listener: Listener<State>,
    endpoints: Endpoints,
    processor: number,
    index: number,
  ) {
    this.#transport = transport;
    this.listenerConfig = listener;
    this.framer = listener.framer;
    this.remoteAddress = endpoints.remoteAddress;
    this.remotePort = endpoints.remotePort;
    this.#local = localEnd(endpoints.localAddress, endpoints.localPort);
    this.processor = processor;
    this.#index = index;
  }

  get id(): string {
    const { address, port } = this.#local;
    const ends = `${address}:${port}-${this.remoteAddress}:${this.remotePort}`;
    return `${ends}-${this.processor}-${this.#index}`;
  }

  get listener(): string {
    return this.listenerConfig.name;
  }

  /** By what its input is cut. */
  get framing(): Framing {
    return this.#extras?.framing ?? this.listenerConfig.framing;
  }

  /** Nothing more is sent: the transport knows of the close. */
  get isCut(): boolean {
    return this.#extras?.isCut ?? false;
  }

  /** Why it ended. */
  get endCode(): CloseCode | undefined {
    return this.#extras?.endCode;
  }

  /** Why the signals of its requests are aborted; `undefined` where they aren't. */
  get abortReason(): Error | undefined {
    return this.#extras?.abortReason;
  }

  get #more(): Extras<State> {
    this.#extras ??= new Extras();
    return this.#extras;
  }

  close(detail?: string): void {
    this.closeWith('CLOSED_BY_SERVICE', detail);
  }

  /** Closes in order, with the first reason that was given. */
  closeWith(code: CloseCode, detail?: string): void {
    if (!this.beginCut()) return;
    this.#transport.close(this, code, detail);
    this.abort(new Error(`the connection was closed: ${code}`));
  }

  /** Nothing more is started or sent; false where that was so before. */
  protected beginCut(): boolean {
    if (this.isCut || this.ended) return false;
    this.closing = true;
    this.#more.isCut = true;
    // Requests are settled in their order: what waits behind one in work is dropped after it.
    if (this.inFlight === 0) this.dropBacklog();
    return true;
  }

  /** The transport has got a reply that closes. Requests started behind it are not waited for. */
  closedBy(code: CloseCode): void {
    const wasCut = this.isCut;
    this.#more.isCut = true;
    if (wasCut || this.inFlight === 0) return;
    this.#transport.close(this, code);
    this.abort(new Error(`the connection was closed: ${code}`));
  }

  get hasBacklog(): boolean {
    return this.#backlog !== null;
  }

  /** The request waits for those before it. */
  enqueue(request: ServerRequest<State>): void {
    if (this.#backlog === null) this.#backlog = [request];
    else this.#backlog.push(request);
  }

  /** The request that has waited longest. */
  dequeue(): ServerRequest<State> | undefined {
    if (this.#backlog === null) return undefined;
    const request = this.#backlog.shift();
    if (this.#backlog.length === 0) this.#backlog = null;
    return request;
  }

  dropBacklog(): void {
    const dropped = this.#backlog;
    if (dropped === null) return;
    this.#backlog = null;
    for (const request of dropped) this.#transport.discard(request);
  }

  /** The `signal` or the `sent` of an unanswered request was asked for. */
  watch(request: ServerRequest<State>): void {
    const more = this.#more;
    more.watched ??= new Set();
    more.watched.add(request);
  }

  /** It is answered. */
  unwatch(request: ServerRequest<State>): void {
    if (this.#extras !== null) this.#extras.watched?.delete(request);
  }

  send(bytes: Uint8Array | readonly Uint8Array[]): boolean {
    checkPush(bytes);
    if (this.closing || this.ended) throw pushedTooLate();
    this.framer.check(lengthOf(bytes));
    const more = this.#more;
    more.gauge ??= new SendGauge(this.#transport.sendHighWaterMarkBytes);
    if (more.gauge.unsent >= this.#transport.maxUnsentBytesPerConnection) {
      this.closeWith('TOO_MANY_UNSENT_BYTES');
      return false;
    }
    return more.gauge.given(this.#transport.send(this, bytes));
  }

  drained(): Promise<void> {
    return this.#extras?.gauge?.drained() ?? Promise.resolve();
  }

  /** Something was pushed, so {@link left} wants to know. */
  get isGauged(): boolean {
    return this.#extras !== null && this.#extras.gauge !== null;
  }

  /** The transport still has so many of the bytes that were given. */
  left(unsent: number): void {
    this.#extras?.gauge?.left(unsent);
  }

  /** For so many whole milliseconds nothing is read, and no further request is started. */
  throttle(ms: number): void {
    if (ms > 0 && !this.closing && !this.ended) this.#transport.throttle(this, ms);
  }

  /** Throttled, or owing too much: no further request is started. */
  get isHeldBack(): boolean {
    return this.#extras !== null && this.#extras.holds > 0;
  }

  /** The transport will say when it has ended. */
  holdBegan(): void {
    this.#more.holds++;
  }

  holdEnded(count: number): void {
    const more = this.#more;
    more.holds = Math.max(0, more.holds - count);
  }

  setFraming(framing: Framing): void {
    if (!isFraming(framing)) {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_ARGUMENT',
        `framing must come from lengthPrefixed(), varintPrefixed(), delimited(), raw() or ` +
          `custom(), got ${describe(framing)}`,
      );
    }
    if (framing.kind === 'custom' && this.listenerConfig.handler === null) {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_ARGUMENT',
        "custom() framing is a function, which a server with a handlerPool can't use",
      );
    }
    if (this.closing || this.ended || (!this.connecting && this.inFlight === 0)) {
      throw new OdradekError(
        'ERR_ODRADEK_SET_FRAMING',
        'call it in onConnect, or while a request of this connection is in its handler',
      );
    }
    if (this.inFlight > 1 && !this.isStarting) {
      throw new OdradekError(
        'ERR_ODRADEK_SET_FRAMING',
        `${this.inFlight} requests of this connection are in flight, which may have been framed ` +
          `wrongly; call it before the handler's first await, or while no other one is in flight`,
      );
    }
    const unread = this.#backlog ?? [];
    this.#backlog = null;
    this.useFraming(framing);
    this.#transport.setFraming(this, framing, unread);
  }

  /** What follows is cut and answered by another framing. */
  protected useFraming(framing: Framing): void {
    const framesItself = framing.kind === 'lengthPrefixed' && framing.offset > 0;
    this.#more.framing = framing;
    this.framer = makeReplyFramer(framing, this.listenerConfig.frameReplies && !framesItself);
  }

  /** Aborts the signals of the requests in handlers' hands. */
  abort(reason: Error): void {
    if (this.abortReason !== undefined) return;
    this.#more.abortReason = reason;
    for (const request of this.#extras?.watched ?? []) {
      // A request whose reply waits for earlier ones is no more in its handler's hands.
      if (!request.answered) request.abort(reason);
    }
  }

  /** The transport has closed the socket: nothing that is still unanswered will be sent. */
  end(code: CloseCode): void {
    this.ended = true;
    const more = this.#more;
    more.endCode = code;
    this.abort(new Error(`the connection ended: ${code}`));
    for (const request of more.watched ?? []) request.settleSent({ ok: false, reason: code });
    more.watched = null;
    more.gauge?.open();
  }
}
