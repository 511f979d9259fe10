import { performance } from 'node:perf_hooks';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { CloseCode } from '../../close-reason.js';
import type { OdradekError } from '../../errors.js';
import { unpackError } from '../../handler-pool/error-crossing.js';
import { receiveAll } from '../../handler-pool/receive-all.js';
import { type PackedReply, packReply } from '../../handler-pool/reply-crossing.js';
import {
  type Detached,
  type HandlerLink,
  type HandlerLinks,
  type HandlerLinksEvents,
  lossCode,
} from '../../handler-pool/thread-protocol.js';
import type { Listener, Settings } from '../../options.js';
import { ServerRequest } from '../../request.js';
import type { NativeLostRequest, NativeServer } from './binding.js';
import type { Target } from './command-table.js';
import type { NativeConnection } from './native-connection.js';
import { fromNativeFraming, toNativeFraming } from './native-framing.js';
import type {
  FromNativeHandler,
  NativeAttachment,
  NativeListenerFacts,
  ToNativeHandler,
} from './native-link-protocol.js';

/** Where the links find the server's side. */
export interface NativeLinksHost<State> {
  /** From the start on. */
  server(): NativeServer | null;
  find(name: Target): NativeConnection<State> | undefined;
  /** What a lost thread had claimed behind what it had begun, and what has failed by now. */
  wait(waiting: readonly NativeLostRequest[]): void;
}

/** The handler pool's side of the native transport: opens the core's places for its threads. */
export class NativeLinks<State> implements HandlerLinks {
  readonly settings: Settings<State>;
  readonly events: HandlerLinksEvents<State>;
  readonly host: NativeLinksHost<State>;
  readonly #links = new Set<NativeLink<State>>();
  /**
   * The core's places, by thread. A thread's replacements have its place, with its connections;
   * one that is new has a new place.
   */
  readonly #places = new Map<number, number>();
  #nextPlace = 0;

  constructor(
    settings: Settings<State>,
    host: NativeLinksHost<State>,
    events: HandlerLinksEvents<State>,
  ) {
    this.settings = settings;
    this.host = host;
    this.events = events;
  }

  link(thread: number): HandlerLink {
    let place = this.#places.get(thread);
    if (place === undefined) {
      place = this.#nextPlace++;
      this.#places.set(thread, place);
    }
    const link = new NativeLink(this, place, () => this.#links.delete(link));
    this.#links.add(link);
    return link;
  }

  remove(thread: number): void {
    const place = this.#places.get(thread);
    this.#places.delete(thread);
    if (place !== undefined) this.host.server()?.retireHandler(place);
  }

  /** The server ends: its threads end their connections, too. */
  end(code: CloseCode): void {
    for (const link of this.#links) link.end(code);
  }

  /** There is one more listener, and nobody has connected there yet. */
  tellListener(listener: Listener<State>): void {
    for (const link of this.#links) link.tellListener(listener);
  }

  /** Hears what threads have said already: they say it before the core knows of it. */
  catchUp(): void {
    for (const link of this.#links) link.catchUp();
  }
}

/** One thread of the pool, as the server's thread sees it. */
class NativeLink<State> implements HandlerLink {
  readonly attachment: NativeAttachment;
  readonly transferList: readonly [MessagePort];
  readonly #links: NativeLinks<State>;
  readonly #place: number;
  readonly #port: MessagePort;
  readonly #ended: () => void;
  #isDetached = false;
  #claimedTotal = 0;
  #retired: (() => void) | null = null;

  constructor(links: NativeLinks<State>, place: number, ended: () => void) {
    const { port1, port2 } = new MessageChannel();
    this.#links = links;
    this.#place = place;
    this.#ended = ended;
    this.#port = port1;
    this.attachment = makeAttachment(links, place, port2);
    this.transferList = [port2];
    port1.on('message', (message: FromNativeHandler) => this.#receive(message));
    // The server keeps the process alive, this doesn't.
    port1.unref();
  }

  get inFlight(): number {
    return this.#counters?.inWork ?? 0;
  }

  get startedTotal(): number {
    return this.#counters?.claimed ?? this.#claimedTotal;
  }

  get #counters(): { inWork: number; claimed: number } | undefined {
    if (this.#isDetached) return undefined;
    return this.#links.host.server()?.handlerCounters(this.#place);
  }

  async retire(): Promise<void> {
    if (this.#isDetached) return;
    await new Promise<void>((resolve) => {
      this.#retired = resolve;
      this.#say({ kind: 'retire' });
    });
  }

  end(code: CloseCode): void {
    this.#say({ kind: 'end', code });
  }

  tellListener(listener: Listener<State>): void {
    this.#say({ kind: 'listener', listener: factsOf(listener) });
  }

  detach(error: OdradekError): Detached {
    if (this.#isDetached) return { started: 0, requeued: 0 };
    this.catchUp();
    this.#claimedTotal = this.startedTotal;
    this.#isDetached = true;
    this.#port.close();
    this.#ended();
    const remains = this.#links.host.server()?.closeHandler(this.#place);
    const { started = [], waiting = [], putBack = 0 } = remains ?? {};
    this.#claimedTotal -= waiting.length + putBack;
    for (const request of started) this.#fail(request, error);
    this.#links.host.wait(waiting);
    this.#retired?.();
    return { started: started.length, requeued: putBack + waiting.length };
  }

  #fail(lost: NativeLostRequest, error: OdradekError): void {
    const connection = this.#find(lost);
    if (connection === undefined) return;
    const { frame, bodyBegin, bodyEnd, sequence, receivedAt } = lost;
    const request = new ServerRequest(
      connection,
      frame.subarray(bodyBegin, bodyEnd),
      sequence,
      receivedAt,
      frame.buffer,
      frame.byteOffset,
      frame.byteLength,
    );
    request.failCode = lossCode(error);
    this.#links.events.fail(request, error);
  }

  #find(name: Target): NativeConnection<State> | undefined {
    return this.#links.host.find(name);
  }

  /** See {@link NativeLinks.catchUp}. */
  catchUp(): void {
    if (this.#isDetached) return;
    receiveAll<FromNativeHandler>(this.#port, (message) => this.#receive(message));
  }

  #say(message: ToNativeHandler, transferList: readonly ArrayBuffer[] = []): void {
    if (!this.#isDetached) this.#port.postMessage(message, transferList);
  }

  #receive(message: FromNativeHandler): void {
    if (message.kind === 'failed') {
      this.#failed(message);
    } else if (message.kind === 'mistake') {
      this.#links.events.mistake(unpackError(message.error));
    } else if (message.kind === 'retired') {
      this.#retired?.();
    } else {
      const connection = this.#find(message.connection);
      if (connection === undefined) return;
      if (message.kind === 'closing') connection.more.closeDetail = message.detail;
      else connection.reframe(fromNativeFraming(message.framing));
    }
  }

  /** A handler failed in its thread, which waits for what the hook makes. */
  #failed({ id, ...message }: FromNativeHandler & { kind: 'failed' }): void {
    const connection = this.#find(message.connection);
    if (connection === undefined) {
      this.#answer(id, null);
      return;
    }
    const { buffer, byteOffset, byteLength } = message.body;
    const request = new ServerRequest(
      connection,
      Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength),
      message.sequence,
      message.receivedAt - performance.timeOrigin,
      buffer,
      byteOffset,
      byteLength,
    );
    const reply = this.#links.events.makeErrorReply(request, unpackError(message.error));
    if (reply instanceof Promise) reply.then((value) => this.#errorReplied(request, id, value));
    else this.#errorReplied(request, id, reply);
  }

  #errorReplied(request: ServerRequest<State>, id: number, value: unknown): void {
    request.answered = true;
    request.connection.unwatch(request);
    if (value === undefined) {
      this.#answer(id, null);
      return;
    }
    try {
      const { reply, transferList } = packReply(value);
      this.#answer(id, reply, transferList);
    } catch (error) {
      this.#links.events.mistake(error);
      this.#answer(id, null);
    }
  }

  #answer(id: number, reply: PackedReply | null, transferList?: readonly ArrayBuffer[]): void {
    this.#say({ kind: 'errorReply', id, reply }, transferList);
  }
}

/** Frames of one connection that may be claimed together: the core's bound. */
const longestRun = 64;

/** Throttled connections of which a thread may have requests that it doesn't begin. */
const mostHeldBack = 64;

function makeAttachment<State>(
  { settings, host }: NativeLinks<State>,
  place: number,
  port: MessagePort,
): NativeAttachment {
  const { isolateBodies, borrowBodies, maxInFlightPerConnection, handlerTimeoutMs, handlerPool } =
    settings;
  const { concurrency = 1, affinity = 'any' } = handlerPool ?? {};
  const run = Math.max(longestRun, maxInFlightPerConnection);
  // Each request in flight may have others of its connection behind it, and what is held back
  // takes no other's room.
  const capacity = (concurrency + 1 + mostHeldBack) * run;
  return {
    kind: 'native',
    port,
    number: host.server()?.openHandler(place, capacity) ?? 0,
    capacity,
    mostHeldBack,
    concurrency,
    affinity,
    isolateBodies,
    borrowBodies,
    maxInFlightPerConnection,
    sendHighWaterMarkBytes: settings.sendHighWaterMarkBytes,
    maxUnsentBytesPerConnection: settings.maxUnsentBytesPerConnection,
    handlerTimeoutMs,
    listeners: settings.listeners.served.map(factsOf),
  };
}

function factsOf<State>(listener: Listener<State>): NativeListenerFacts {
  const { index, name, framing, frameReplies } = listener;
  return { index, name, framing: toNativeFraming(framing), frameReplies };
}
