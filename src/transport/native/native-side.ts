import { Buffer } from 'node:buffer';
import { markAsUntransferable } from 'node:worker_threads';
import { bufferView } from '../../buffer-view.js';
import { type CloseCode, closeCodeOf } from '../../close-reason.js';
import type { Expiry } from '../../expiry.js';
import type { CustomFraming, Framing } from '../../framing.js';
import { LoopTurn } from '../../loop-turn.js';
import type { Settings } from '../../options.js';
import { lengthOf } from '../../reply.js';
import type { ReplyFramer } from '../../reply-framer.js';
import { ServerRequest } from '../../request.js';
import type { TransportEvents } from '../../transport.js';
import type { NativeEvent, NativeTables } from './binding.js';
import type { CommandTable } from './command-table.js';
import {
  commandFlags,
  entriesPerTable,
  epochMask,
  epochShift,
  eventKinds,
  fieldsPerAnswer,
  fieldsPerEntry,
  largeFlag,
  largeFrameBytes,
  lastFlag,
  processorMask,
  requestFields,
  slabBytes,
  statusFields,
} from './crossing.js';
import { CustomInput, CustomRequest } from './custom-input.js';
import type { NativeConnection, Reframing } from './native-connection.js';
import { toNativeFraming } from './native-framing.js';
import { Outflow } from './outflow.js';

const field = requestFields;

/**
 * Requests handled before the event loop gets a turn, so that timers and other I/O of the process
 * go on under load: about a millisecond of work for a handler of a microsecond.
 */
const requestsPerTurn = 1024;

/** Bytes and large frames count for requests in that: a turn takes a megabyte, or 64 large ones. */
const bytesPerRequest = 1024;
const requestsPerLarge = 16;

const nothing = Buffer.alloc(0);

/** What this side of the boundary needs to know of the server's options. */
export type SideSettings<State> = Pick<
  Settings<State>,
  | 'isolateBodies'
  | 'borrowBodies'
  | 'maxInFlightPerConnection'
  | 'sendHighWaterMarkBytes'
  | 'maxUnsentBytesPerConnection'
>;

/** What this side tells whoever runs the handlers. */
export type SideEvents<State> = Pick<
  TransportEvents<State>,
  'requestReceived' | 'turnEnded' | 'connectionReset' | 'holdEnded'
>;

/**
 * One JavaScript thread's side of the boundary: takes claimed requests and events out of the
 * tables, and puts replies and commands in. The thread of the server has one ({@link
 * NativeTransport}), and each thread of a handler pool has one ({@link NativeHandlerThread}).
 */
export abstract class NativeSide<State> {
  protected readonly settings: SideSettings<State>;
  protected readonly events: SideEvents<State>;
  protected readonly tables: NativeTables;
  /** `null` before the start and after the end. */
  protected commands: CommandTable | null = null;
  /** Connections whose input this thread cuts, or has cut. */
  protected readonly customs = new Set<NativeConnection<State>>();
  /** Of those; the core has the time-outs of all others. */
  protected expiry: Expiry<NativeConnection<State>> | null = null;
  /**
   * Half of what a connection may owe: from there on the core is asked what has left, and down to
   * there its requests wait once it owes all. Computed for each reply it cost 9 ns.
   */
  readonly #halfUnsent: number;
  #slab: Buffer = makeSlab();
  #slabUsed = 0;
  #flushScheduled = false;

  constructor(settings: SideSettings<State>, events: SideEvents<State>, tables: NativeTables) {
    this.settings = settings;
    this.events = events;
    this.tables = tables;
    this.#halfUnsent = settings.maxUnsentBytesPerConnection / 2;
  }

  /** Claims requests into the tables; how many. */
  protected abstract claim(slab: Buffer, used: number, larges: ArrayBuffer[]): number;

  /** Whether there is nothing to do until the next ring. */
  protected abstract rest(): boolean;

  protected abstract takeEvents(): void;

  /** Empties the memory of a large frame, which the core may use anew. */
  protected abstract takeBack(memory: ArrayBuffer): void;

  /** The connection of a claimed request, if it is still there. */
  protected abstract meet(
    processor: number,
    slot: number,
    generation: number,
    epoch: number,
  ): NativeConnection<State> | undefined;

  // --- What the core delivers -------------------------------------------------------------------

  protected readonly onDoorbell = (): void => {
    // One turn a round of the event loop, whoever rings.
    if (!this.later.isAsked) this.#beginTurn();
  };

  readonly #beginTurn = (): void => {
    this.#left = requestsPerTurn;
    this.#takeTurn();
  };

  /** Goes on in the event loop's next round. */
  protected readonly later = new LoopTurn(this.#beginTurn);

  readonly #takeTurn = (): void => {
    try {
      this.#turn();
    } catch (error) {
      // Thrown through the addon, Node 20 would swallow it. The program may go on, and so do we.
      process.nextTick(() => {
        throw error;
      });
      this.later.ask();
    }
  };

  /** Takes what there is, in batches, until there is no more or the event loop wants a turn. */
  #turn(): void {
    while (this.commands !== null) {
      const more = this.#takeBatch();
      // rest() refuses if somebody has rung since the claim: then there is more, too.
      if (!more && (this.commands === null || this.rest())) return;
      if (this.#left <= 0) {
        this.later.ask();
        return;
      }
      if (this.owesMicrotasks()) {
        queueMicrotask(this.#goOn);
        return;
      }
    }
  }

  /** What promises have answered meanwhile doesn't wait for what is begun next. */
  readonly #goOn = (): void => {
    this.flush();
    this.#takeTurn();
  };

  /** Whether handlers of the last batch may have an answer when the microtasks have run. */
  protected owesMicrotasks(): boolean {
    return false;
  }

  /** Requests that this turn may still take. */
  #left = 0;

  /** Handles one claim; true if more is there to be claimed. */
  #takeBatch(): boolean {
    // A program may have transferred the slab away with a body.
    const isUsedUp = this.#slabUsed > slabBytes - largeFrameBytes;
    if (isUsedUp || this.#slab.byteLength === 0) {
      this.#slab = makeSlab();
      this.#slabUsed = 0;
    }
    const slab = this.#slab;
    const larges: ArrayBuffer[] = [];
    const count = this.claim(slab, this.#slabUsed, larges);
    const { status } = this.tables;
    const slabUsed = status[statusFields.slabUsed] as number;
    const bytes = slabUsed - this.#slabUsed;
    this.#slabUsed = slabUsed;
    this.#left -= 1 + count + bytes / bytesPerRequest + larges.length * requestsPerLarge;
    const more = status[statusFields.more] === 1;
    // A connection's opening was posted before its first request, so it is among these.
    if (status[statusFields.events] === 1) this.takeEvents();
    const memory = slab.buffer as ArrayBuffer;
    for (let i = 0; i < count; i++) this.#deliver(i, memory, larges);
    this.events.turnEnded();
    return more;
  }

  #deliver(entry: number, slab: ArrayBuffer, larges: readonly ArrayBuffer[]): void {
    const table = this.tables.requests;
    const at = entry * fieldsPerEntry;
    const who = table[at + field.processor] as number;
    const connection = this.meet(
      who & processorMask,
      table[at + field.slot] as number,
      table[at + field.generation] as number,
      (who >>> epochShift) & epochMask,
    );
    if (connection === undefined) return;
    const where = table[at + field.offset] as number;
    const isLarge = where >= largeFlag;
    const memory = isLarge ? (larges[where - largeFlag] as ArrayBuffer) : slab;
    const offset = isLarge ? 0 : where;
    const bodyBegin = table[at + field.bodyBegin] as number;
    const bodyEnd = table[at + field.bodyEnd] as number;
    let body: Buffer;
    try {
      body = bufferView(memory, offset + bodyBegin, bodyEnd - bodyBegin);
      if (this.settings.isolateBodies && connection.custom === null) body = isolated(body);
    } catch (error) {
      // Memory was refused, or a handler has just transferred the slab away.
      body = nothing;
      connection.closeWith('OUT_OF_MEMORY', String(error));
    }
    const sequence = table[at + field.sequence] as number;
    const receivedAt = this.tables.times[entry] as number;
    connection.arrived(sequence, who >= lastFlag);
    if (connection.custom !== null) {
      this.#cut(connection, connection.custom, body, sequence, receivedAt);
      return;
    }
    const frameBytes = table[at + field.frameBytes] as number;
    const request = new ServerRequest(
      connection,
      body,
      sequence,
      receivedAt,
      memory,
      offset,
      frameBytes,
    );
    if (this.tables.tickets !== undefined) request.ticket = this.tables.tickets[entry] as number;
    if (connection.reframing === null) {
      this.events.requestReceived(request);
    } else {
      connection.reframing.unread.push(request);
      if (connection.isComplete) this.#reframe(connection, connection.reframing);
    }
  }

  /** Cuts a raw piece by the connection's `custom` framing. */
  #cut(
    connection: NativeConnection<State>,
    input: CustomInput<State>,
    bytes: Buffer,
    sequence: number,
    receivedAt: number,
  ): void {
    if (input.decoder.isEmpty) this.#startClock(connection);
    const piece = input.begin(sequence, bytes);
    // A handler that changes the framing ends this loop: what is left is cut by the new one.
    while (connection.reframing === null && connection.custom === input) {
      const request = input.take(connection, piece, receivedAt);
      if (request === null) break;
      this.events.requestReceived(request);
    }
    piece.isCut = true;
    if (connection.reframing !== null) {
      connection.reframing.rest.push(input.decoder.takeRest());
      if (connection.isComplete) this.#reframe(connection, connection.reframing);
    }
    this.#settlePieces(connection, true);
  }

  /** What broke a `custom` framing counts when nothing before it can change the framing any more. */
  #judge(connection: NativeConnection<State>): void {
    const failure = connection.custom?.decoder.failure ?? null;
    if (failure === null || connection.closing || connection.reframing !== null) return;
    if (connection.inFlight > 0 || connection.hasBacklog) return;
    connection.closeWith(failure.code, failure.message);
  }

  /** Handles what both sides hear of a connection that this thread knows. */
  protected connectionEvent(connection: NativeConnection<State>, event: NativeEvent): void {
    if (event.kind === eventKinds.reset) this.events.connectionReset(connection);
    else if (event.kind === eventKinds.cut) connection.cut(closeCodeOf(event.reason));
    else if (event.kind === eventKinds.held) this.#held(connection, event.count);
    else if (event.kind === eventKinds.sent) this.#sent(connection, event);
    else if (event.kind === eventKinds.pushSent) this.#pushLeft(connection, event.count);
    else if (event.kind === eventKinds.throttleEnded) this.#holdEnded(connection, event.count);
  }

  #holdEnded(connection: NativeConnection<State>, count: number): void {
    const wasHeld = connection.isHeldBack;
    connection.holdEnded(count);
    if (!wasHeld || connection.isHeldBack) return;
    this.#startClock(connection);
    this.events.holdEnded(connection);
  }

  #held(connection: NativeConnection<State>, sequence: number): void {
    connection.held(sequence);
    const { reframing } = connection;
    if (reframing !== null && connection.isComplete) this.#reframe(connection, reframing);
  }

  #sent(connection: NativeConnection<State>, event: NativeEvent): void {
    const { more } = connection;
    const request = more.awaitingSent.get(event.count);
    more.awaitingSent.delete(event.count);
    more.hasToldSent = true;
    if (event.ok) request?.settleSent({ ok: true });
    else request?.settleSent({ ok: false, reason: closeCodeOf(event.reason) });
  }

  // --- What is answered ------------------------------------------------------------------

  reply(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void {
    const connection = request.connection as NativeConnection<State>;
    const commands = this.commands;
    if (commands === null || connection.ended) return;
    if (bytes instanceof Uint8Array && closeCode === null && this.#isUsual(connection, request)) {
      const { framer, sequence, receivedAt } = request;
      const length = commands.answer(connection, framer, bytes, sequence, receivedAt);
      if (length > 0) {
        connection.nextReply = (sequence + 1) >>> 0;
        this.#gaugeReply(connection, length);
        if (this.settings.borrowBodies) this.#endLoan(request);
        return;
      }
    }
    const isCustom = request instanceof CustomRequest;
    // A close instead of a reply leaves the request without an answer.
    const isAnswered = bytes !== null || closeCode === null;
    const answered = isAnswered ? request : null;
    if (request.readyAt !== null) commands.separate();
    if (bytes !== null) {
      commands.frame(connection, request.framer, bytes, isCustom ? null : request.sequence);
    }
    if (isCustom) {
      this.#replyCustom(connection, request, isAnswered, closeCode);
      if (bytes !== null) this.#gaugeReply(connection, framedLength(request.framer, bytes));
      return;
    }
    let flags = isAnswered ? 0 : commandFlags.discarded;
    if (request.sentAsked) {
      connection.more.awaitingSent.set(request.sequence, request);
      flags |= commandFlags.notify;
    }
    commands.settle(connection, request.sequence, 1, closeCode, flags, answered);
    connection.nextReply = (request.sequence + 1) >>> 0;
    if (bytes !== null) this.#gaugeReply(connection, framedLength(request.framer, bytes));
    if (connection.inputs !== null) this.#settlePieces(connection, true);
    if (this.settings.borrowBodies) this.#endLoan(request);
  }

  /** Nothing but its bytes is to be said of a reply. */
  #isUsual({ inputs }: NativeConnection<State>, request: ServerRequest<State>): boolean {
    return inputs === null && request.readyAt === null && !request.sentAsked;
  }

  givenAt(now: number): void {
    this.commands?.givenAt(now);
  }

  /** The request is settled: its body was lent no longer than until now. */
  #endLoan(request: ServerRequest<State>): void {
    // A handler that took too long may be at it still.
    if (request.frameBytes < largeFrameBytes || request.isLate) return;
    this.takeBack(request.memory as ArrayBuffer);
  }

  /** The core counts pieces: the reply and its fate go for themselves. */
  #replyCustom(
    connection: NativeConnection<State>,
    request: CustomRequest<State>,
    isAnswered: boolean,
    closeCode: CloseCode | null,
  ): void {
    let cookie = 0;
    let flags = isAnswered ? 0 : commandFlags.discarded;
    if (request.sentAsked) {
      cookie = connection.more.nextCookie++;
      connection.more.awaitingSent.set(cookie, request);
      flags |= commandFlags.notify;
    }
    this.commands?.settle(connection, cookie, 0, closeCode, flags, isAnswered ? request : null);
    request.input.settle(request, isAnswered);
    this.#startClock(connection);
    this.#settlePieces(connection, connection.custom !== request.input);
  }

  /** Tells the core of the pieces of `custom` input that are done; see {@link CustomInput}. */
  #settlePieces(connection: NativeConnection<State>, all: boolean): void {
    const { inputs } = connection;
    if (inputs === null || connection.ended) return;
    for (const input of inputs) {
      const settled = input.takeSettled(connection.nextReply, all);
      if (settled === null) continue;
      this.commands?.settle(connection, settled.sequence, settled.count, null, 0);
      connection.nextReply = (settled.sequence + settled.count) >>> 0;
    }
    const first = inputs[0];
    if (first !== connection.custom && first?.hasPieces === false) inputs.shift();
    if (inputs.length === 0) connection.inputs = null;
    this.#judge(connection);
  }

  discard(request: ServerRequest<State>): void {
    const connection = request.connection as NativeConnection<State>;
    if (connection.ended) return;
    if (request instanceof CustomRequest) {
      request.input.settle(request, false);
      this.#startClock(connection);
      this.#settlePieces(connection, connection.custom !== request.input);
      return;
    }
    this.commands?.settle(connection, request.sequence, 1, null, commandFlags.discarded);
    connection.nextReply = (request.sequence + 1) >>> 0;
    if (connection.inputs !== null) this.#settlePieces(connection, true);
    if (this.settings.borrowBodies) this.#endLoan(request);
  }

  flush(): void {
    this.commands?.flush();
  }

  accept(connection: NativeConnection<State>, greeting: Uint8Array | null): void {
    if (connection.ended) return;
    if (greeting !== null) this.commands?.frame(connection, connection.framer, greeting);
    this.commands?.accept(connection);
    this.flushSoon();
  }

  close(connection: NativeConnection<State>, code: CloseCode, detail?: string): void {
    if (connection.ended) return;
    if (detail !== undefined || connection.extras !== null) connection.more.closeDetail = detail;
    this.commands?.close(connection, code);
    this.flushSoon();
  }

  get sendHighWaterMarkBytes(): number {
    return this.settings.sendHighWaterMarkBytes;
  }

  send(connection: NativeConnection<State>, bytes: Uint8Array | readonly Uint8Array[]): number {
    if (this.commands === null) return 0;
    const { more, framer } = connection;
    more.outflow ??= new Outflow();
    const { outflow } = more;
    outflow.give(framedLength(framer, bytes));
    this.commands.push(connection, framer, bytes, outflow.isMarked ? null : outflow.mark);
    outflow.isMarked = true;
    this.flushSoon();
    return outflow.unsent;
  }

  get maxUnsentBytesPerConnection(): number {
    return this.settings.maxUnsentBytesPerConnection;
  }

  /**
   * Replies count, too. The core is asked of a connection that is pushed to; and of any other when so
   * much was given that it may not have left, which is half of what may be.
   */
  #gaugeReply(connection: NativeConnection<State>, bytes: number): void {
    const outflow = connection.extras?.outflow ?? null;
    if (outflow !== null) {
      this.#gauge(connection, outflow, bytes);
      return;
    }
    connection.given += bytes;
    if (connection.given < this.#halfUnsent) return;
    connection.more.outflow = new Outflow();
    this.#gauge(connection, connection.more.outflow, connection.given);
    connection.given = 0;
  }

  #gauge(connection: NativeConnection<State>, outflow: Outflow, bytes: number): void {
    outflow.give(bytes);
    this.#mark(connection, outflow);
    const isFull = outflow.unsent >= this.settings.maxUnsentBytesPerConnection;
    if (!isFull || outflow.isFull || !this.holdsBack(connection)) return;
    outflow.isFull = true;
    connection.holdBegan();
  }

  /** One mark at a time is on its way. */
  #mark(connection: NativeConnection<State>, outflow: Outflow): void {
    if (outflow.isMarked) return;
    outflow.isMarked = true;
    this.commands?.push(connection, connection.framer, null, outflow.mark);
  }

  /** All that was given up to this mark has left. */
  #pushLeft(connection: NativeConnection<State>, mark: number): void {
    const outflow = connection.extras?.outflow ?? null;
    if (outflow === null) return;
    outflow.reached(mark);
    const { unsent } = outflow;
    connection.left(unsent);
    if (outflow.isFull && unsent <= this.#halfUnsent) {
      outflow.isFull = false;
      this.#holdEnded(connection, 1);
    }
    if (connection.ended) return;
    if (outflow.unsent > 0) {
      this.#mark(connection, outflow);
      this.flushSoon();
    } else if (!connection.isGauged) {
      connection.more.outflow = null;
    }
  }

  throttle(connection: NativeConnection<State>, ms: number): void {
    if (this.commands === null) return;
    this.commands.throttle(connection, ms);
    if (this.holdsBack(connection)) connection.holdBegan();
    this.flushSoon();
  }

  /** Whether what has crossed of a throttled connection waits here. */
  protected holdsBack(_connection: NativeConnection<State>): boolean {
    return true;
  }

  setFraming(
    connection: NativeConnection<State>,
    framing: Framing,
    unread: readonly ServerRequest<State>[],
  ): void {
    const before = connection.reframing;
    const reframing = {
      framing,
      unread: [...(before?.unread ?? []), ...unread],
      rest: before?.rest ?? [],
    };
    connection.reframing = reframing;
    if (this.settings.maxInFlightPerConnection > 1) {
      // The core may be cutting more at this moment: it has to say where it stops.
      connection.isComplete = false;
      if (before === null) this.commands?.hold(connection);
      this.flushSoon();
      return;
    }
    // While a piece is being cut, or requests are still to cross, the rest is awaited.
    const isCutting = connection.custom?.isCutting ?? false;
    if (connection.isComplete && !isCutting) this.#reframe(connection, reframing);
  }

  /** Everything that was cut by the old framing is here: gives it back to be cut by the new one. */
  #reframe(connection: NativeConnection<State>, reframing: Reframing<State>): void {
    const { framing, unread, rest } = reframing;
    const input = connection.custom;
    const parts: Uint8Array[] = unread.map(({ frame }) => frame);
    let sequence = unread[0]?.sequence ?? 0;
    let withdrawn = unread.length;
    if (input !== null) {
      // Pieces are settled by the requests that stay; none of them is taken back.
      input.withdraw(unread as CustomRequest<State>[]);
      parts.push(...rest, input.decoder.takeRest());
      sequence = 0;
      withdrawn = 0;
    }
    connection.reframing = null;
    connection.reframed(withdrawn);
    connection.custom = null;
    const bytes = Buffer.concat(parts);
    this.commands?.setFraming(
      connection,
      toNativeFraming(framing),
      bytes.byteLength > 0 ? bytes : null,
      sequence,
      withdrawn,
    );
    if (framing.kind === 'custom') {
      this.cutHere(connection, framing);
    }
    this.#settlePieces(connection, true);
  }

  /** The core can't cut these frames: this thread does. */
  protected cutHere(connection: NativeConnection<State>, framing: CustomFraming): void {
    connection.cutBy(new CustomInput(framing, this.settings.isolateBodies));
    this.customs.add(connection);
    this.expiry?.start();
  }

  /** What the client is waited for begins, or goes on. */
  #startClock(connection: NativeConnection<State>): void {
    if (this.expiry !== null) connection.since = this.expiry.now;
  }

  /** For what happens outside of the turns that the handler pool ends. */
  protected flushSoon(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    process.nextTick(() => {
      this.#flushScheduled = false;
      this.flush();
    });
  }
}

/** At most: a header may take less than it could. */
function framedLength(framer: ReplyFramer, bytes: Uint8Array | readonly Uint8Array[]): number {
  return framer.maxHeaderBytes + lengthOf(bytes) + framer.trailer.length;
}

/** Memory for small bodies. It is never used twice, so a body never changes under its handler. */
function makeSlab(): Buffer {
  const slab = Buffer.allocUnsafeSlow(slabBytes);
  // Bodies share it: one that is transferred away would empty the others.
  markAsUntransferable(slab.buffer);
  return slab;
}

export function makeTables(): NativeTables {
  return {
    requests: new Uint32Array(entriesPerTable * fieldsPerEntry),
    times: new Float64Array(entriesPerTable),
    status: new Uint32Array(Object.keys(statusFields).length),
    commands: new Uint32Array(entriesPerTable * fieldsPerEntry),
    answers: new Float64Array(entriesPerTable * fieldsPerAnswer),
    replies: new Uint8Array(slabBytes),
  };
}

function isolated(body: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(body.byteLength);
  body.copy(own);
  return own;
}
