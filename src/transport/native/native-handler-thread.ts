import { performance } from 'node:perf_hooks';
import { type CloseCode, closeCodeOf } from '../../close-reason.js';
import type { ServerConnection } from '../../connection.js';
import { OdradekError } from '../../errors.js';
import type { Framing } from '../../framing.js';
import { packError } from '../../handler-pool/error-crossing.js';
import { InThreadHandlerPool } from '../../handler-pool/in-thread-handler-pool.js';
import { ownBytes } from '../../handler-pool/own-bytes.js';
import { receiveAll } from '../../handler-pool/receive-all.js';
import { unpackReply } from '../../handler-pool/reply-crossing.js';
import type { Handler, Listener } from '../../options.js';
import type { Reply } from '../../reply.js';
import { makeReplyFramer } from '../../reply-framer.js';
import type { ServerRequest } from '../../request.js';
import type { HandlerTimes } from '../../request-times.js';
import {
  loadBinding,
  type NativeConnectionInfo,
  type NativeEvent,
  type NativeHandler,
  type NativeTables,
} from './binding.js';
import { CommandTable } from './command-table.js';
import { entriesPerTable, eventKinds } from './crossing.js';
import { NativeConnection } from './native-connection.js';
import { fromNativeFraming, toNativeFraming } from './native-framing.js';
import type {
  FromNativeHandler,
  NativeAttachment,
  NativeListenerFacts,
  ToNativeHandler,
} from './native-link-protocol.js';
import { makeTables, NativeSide } from './native-side.js';

/**
 * A thread of the handler pool over the native transport: it claims requests by itself, as many as
 * it can start, and its replies go to the processors directly.
 */
export class NativeHandlerThread extends NativeSide<unknown> {
  readonly #attachment: NativeAttachment;
  readonly #native: NativeHandler;
  readonly #pool: InThreadHandlerPool<unknown>;
  readonly #handler: Handler;
  /** By number. */
  readonly #listeners = new Map<number, Listener<unknown>>();
  /** What was said to this thread before the news of a listener, for which it looked. */
  readonly #unheard: ToNativeHandler[] = [];
  readonly #marks: Uint8Array;
  /** By processor and slot. */
  readonly #connections: (ThreadConnection | undefined)[][] = [];
  /** Connections, throttled or owing too much, of which nothing more is begun. */
  readonly #heldBack = new Set<ServerConnection>();
  /** Failed requests whose hooks were asked, by number. */
  readonly #asked = new Map<number, (reply: Reply | undefined) => void>();
  #lastAsked = 0;
  /** Errors that the pool has reported in this turn, and that were not told. */
  #reported: unknown[] = [];
  /** As many requests as allowed are in flight; the next that settles lets it claim again. */
  #isSated = false;
  #isRetiring = false;
  /** Requests in flight when the last batch was claimed. */
  #inFlightBefore = 0;

  constructor(handler: Handler, attachment: NativeAttachment, times: HandlerTimes) {
    const { maxInFlightPerConnection, handlerTimeoutMs, capacity } = attachment;
    const tables = handlerTables(capacity);
    super(
      attachment,
      {
        requestReceived: (request) => this.#pool.receive(request),
        turnEnded: () => this.#pool.endTurn(),
        connectionReset: (connection) => connection.abort(new Error('the client is gone')),
        holdEnded: (connection) => {
          this.#heldBack.delete(connection);
          this.#pool.resume(connection);
        },
      },
      tables,
    );
    const binding = loadBinding();
    if (binding === null) throw new Error('the addon can no longer be loaded');
    const { number } = attachment;
    this.#attachment = attachment;
    this.#native = new binding.NativeHandler({ number, now: () => performance.now(), tables });
    this.#marks = tables.marks;
    this.#handler = handler;
    for (const facts of attachment.listeners) this.#learn(facts);
    this.#pool = new InThreadHandlerPool(
      this,
      {
        maxInFlightPerConnection,
        handlerTimeoutMs,
        onHandlerError: (error, request) => this.#ask(error, request as ServerRequest),
      },
      (error) => this.#report(error),
      () => undefined,
      { isImmediate: true, run: (request) => this.#run(handler, request) },
      times,
    );
  }

  start(): void {
    const { port } = this.#attachment;
    port.on('message', (message: ToNativeHandler) => this.#receive(message));
    if (this.#native.start(this.onDoorbell) !== true) return;
    this.commands = new CommandTable(
      this.#native,
      this.tables,
      // Half a reply of a thread that is lost could never be completed.
      { keepsRepliesWhole: true },
    );
    // What was answered before stays said, whatever ends the thread in order or by an error.
    process.once('exit', () => this.flush());
    this.onDoorbell();
  }

  #say(message: FromNativeHandler, transferList: readonly ArrayBuffer[] = []): void {
    this.#attachment.port.postMessage(message, transferList);
  }

  #learn(facts: NativeListenerFacts): void {
    this.#listeners.set(facts.index, makeListener(facts, this.#handler));
  }

  /** The news of a new one may still be on its way, and came before its first connection. */
  #listenerOf(index: number): Listener<unknown> {
    if (!this.#listeners.has(index)) {
      receiveAll<ToNativeHandler>(this.#attachment.port, (message) => {
        if (message.kind === 'listener') this.#learn(message.listener);
        else this.#unheard.push(message);
      });
      // In their order, and not in the middle of a claim.
      queueMicrotask(() => {
        for (const message of this.#unheard.splice(0)) this.#receive(message);
      });
    }
    return this.#listeners.get(index) as Listener<unknown>;
  }

  #receive(message: ToNativeHandler): void {
    if (message.kind === 'listener') {
      this.#learn(message.listener);
      return;
    }
    if (message.kind === 'end') {
      this.#end(message.code);
      return;
    }
    if (message.kind === 'retire') {
      this.#isRetiring = true;
      this.onDoorbell();
      return;
    }
    const settle = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    // A hook's value, which refuses nothing.
    settle?.(message.reply === null ? undefined : (unpackReply(message.reply) as Reply));
  }

  /** The core tells nothing any more: what is here ends by the server's word. */
  #end(code: CloseCode): void {
    this.takeEvents();
    this.commands = null;
    for (const slots of this.#connections) {
      for (const connection of slots ?? []) {
        if (connection !== undefined) this.#ended(connection, code);
      }
    }
  }

  // --- What the core delivers -------------------------------------------------------------------

  get #wantsRequests(): boolean {
    return !this.#isRetiring && this.#pool.inFlight < this.#attachment.concurrency;
  }

  protected claim(slab: Buffer, used: number, larges: ArrayBuffer[]): number {
    this.#inFlightBefore = this.#pool.inFlight;
    return this.#native.claim(slab, used, larges, this.#wantsRequests);
  }

  protected takeBack(memory: ArrayBuffer): void {
    this.#native.takeBack(memory);
  }

  protected override owesMicrotasks(): boolean {
    return this.#pool.inFlight > this.#inFlightBefore;
  }

  protected rest(): boolean {
    const isWanting = this.#wantsRequests;
    this.#isSated = !isWanting;
    if (!this.#native.rest(isWanting)) return false;
    if (this.#isRetiring && this.#pool.inFlight === 0) {
      this.flush();
      this.#say({ kind: 'retired' });
    }
    return true;
  }

  protected meet(
    processor: number,
    slot: number,
    generation: number,
    epoch: number,
  ): ThreadConnection | undefined {
    const known = this.#find(processor, slot, generation);
    if (known !== undefined && known.epoch === epoch) return known;
    const info = this.#native.describe(processor, slot, generation);
    if (info === undefined) {
      // Its processor was lost.
      this.#native.forget(processor, slot, generation);
      return undefined;
    }
    const connection = known ?? this.#introduce(processor, slot, generation, info);
    connection.epoch = epoch;
    if (info.framing !== undefined) connection.reframe(fromNativeFraming(info.framing));
    if (info.cut !== undefined) connection.cut(closeCodeOf(info.cut));
    return connection;
  }

  #find(processor: number, slot: number, generation: number): ThreadConnection | undefined {
    const connection = this.#connections[processor]?.[slot];
    return connection?.generation === generation ? connection : undefined;
  }

  #introduce(
    processor: number,
    slot: number,
    generation: number,
    info: NativeConnectionInfo,
  ): ThreadConnection {
    const listener = this.#listenerOf(info.listener);
    const { affinity, maxInFlightPerConnection } = this.#attachment;
    const connection = new ThreadConnection(
      this,
      listener,
      info,
      processor,
      info.index,
      slot,
      generation,
    );
    connection.isShared = affinity === 'any' && maxInFlightPerConnection > 1;
    let slots = this.#connections[processor];
    if (slots === undefined) {
      slots = [];
      this.#connections[processor] = slots;
    }
    slots[slot] = connection;
    return connection;
  }

  protected takeEvents(): void {
    for (const event of this.#native.takeEvents()) {
      const connection = this.#find(event.processor, event.slot, event.generation);
      if (connection === undefined) continue;
      if (event.kind === eventKinds.closed) this.#closed(connection, event);
      else this.connectionEvent(connection, event);
    }
  }

  #closed(connection: ThreadConnection, event: NativeEvent): void {
    const slots = this.#connections[connection.processor];
    if (slots !== undefined) slots[connection.slot] = undefined;
    if (connection.inFlight > 0 || connection.hasBacklog) {
      this.#native.forget(connection.processor, connection.slot, connection.generation);
    }
    this.#ended(connection, closeCodeOf(event.reason));
  }

  #ended(connection: ThreadConnection, code: CloseCode): void {
    connection.forgetSent(code);
    connection.end(code);
    this.#heldBack.delete(connection);
    this.#pool.ended(connection);
  }

  // --- Handlers ---------------------------------------------------------------------------------

  #run(handler: Handler, request: ServerRequest): unknown {
    // Marked first, then looked: whoever gives this thread up does both the other way round, so
    // that no request is begun here and given to another thread, too.
    Atomics.store(this.#marks, request.ticket, 1);
    if (Atomics.load(this.#marks, this.#marks.length - 1) !== 0)
      return new Promise(() => undefined);
    return handler(request);
  }

  /** Where other threads may begin what follows, or too much is held back, nothing waits here. */
  protected override holdsBack(connection: ThreadConnection): boolean {
    const { mostHeldBack } = this.#attachment;
    const hasRoom = this.#heldBack.size < mostHeldBack || this.#heldBack.has(connection);
    if (connection.isShared || !hasRoom) return false;
    this.#heldBack.add(connection);
    return true;
  }

  started(): void {}

  settled(): void {
    if (!this.#isSated || (this.#isRetiring && this.#pool.inFlight > 0)) return;
    this.#isSated = false;
    this.later.ask();
  }

  /** The hooks are on the server's thread. */
  #ask(error: unknown, request: ServerRequest): Promise<Reply | undefined> {
    // It was reported just before.
    this.#reported.pop();
    const { processor, slot, generation } = request.connection as ThreadConnection;
    const id = ++this.#lastAsked;
    const { bytes, transferList } = ownBytes([request.body]);
    this.#say(
      {
        kind: 'failed',
        id,
        connection: { processor, slot, generation },
        sequence: request.sequence,
        body: bytes,
        // On the clock that all threads have.
        receivedAt: request.receivedAt + performance.timeOrigin,
        error: packError(error),
      },
      transferList,
    );
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
    });
  }

  /** What {@link #ask} doesn't tell in the same breath is a mistake that no request fails for. */
  #report(error: unknown): void {
    if (this.#reported.push(error) > 1) return;
    queueMicrotask(() => {
      for (const mistake of this.#reported.splice(0)) {
        this.#say({ kind: 'mistake', error: packError(mistake) });
      }
    });
  }

  override close(connection: NativeConnection<unknown>, code: CloseCode, detail?: string): void {
    if (detail !== undefined && !connection.ended) {
      const { processor, slot, generation } = connection;
      this.#say({ kind: 'closing', connection: { processor, slot, generation }, detail });
    }
    super.close(connection, code, detail);
  }

  override setFraming(
    connection: NativeConnection<unknown>,
    framing: Framing,
    unread: readonly ServerRequest[],
  ): void {
    const { processor, slot, generation } = connection;
    this.#say({
      kind: 'framing',
      connection: { processor, slot, generation },
      framing: toNativeFraming(framing),
    });
    super.setFraming(connection, framing, unread);
  }
}

/** A connection as a thread of the pool knows it. */
class ThreadConnection extends NativeConnection<unknown> {
  /** How often its framing had changed when this thread last heard of it. */
  epoch = 0;
  /** Other threads may run requests of it at the same time. */
  isShared = false;

  /** Other threads may still have what comes before the reply: the core cuts when its turn comes. */
  override closedBy(code: CloseCode): void {
    if (!this.isShared) super.closedBy(code);
  }

  override setFraming(framing: Framing): void {
    if (this.isShared) {
      throw new OdradekError(
        'ERR_ODRADEK_SET_FRAMING',
        "other threads may have begun what follows; use affinity: 'connection'",
      );
    }
    super.setFraming(framing);
    this.epoch = (this.epoch + 1) & 0xffff;
  }
}

function handlerTables(capacity: number): NativeTables & { marks: Uint8Array } {
  // The last byte says that the server has given this thread up.
  const marks = new Uint8Array(capacity + 1);
  return { ...makeTables(), tickets: new Uint32Array(entriesPerTable), marks };
}

function makeListener(
  { index, name, framing: native, frameReplies }: NativeListenerFacts,
  handler: Handler,
): Listener<unknown> {
  const framing = fromNativeFraming(native);
  return {
    index,
    name,
    host: '',
    port: 0,
    backlog: 0,
    framing,
    frameReplies,
    framer: makeReplyFramer(framing, frameReplies),
    handler,
  };
}
