import { performance } from 'node:perf_hooks';
import { getSystemErrorName } from 'node:util';
import { markAsUntransferable } from 'node:worker_threads';
import {
  type CloseCode,
  closeCodeOf,
  closeReasonNumbers,
  makeCloseReason,
} from '../../close-reason.js';
import { OdradekError } from '../../errors.js';
import type { Framing } from '../../framing.js';
import type { TransportMetrics } from '../../metrics.js';
import type { Settings } from '../../options.js';
import { ServerRequest } from '../../request.js';
import { resolveHost } from '../../resolve-host.js';
import type { Address, Transport, TransportEvents } from '../../transport.js';
import type { Binding, NativeEvent, NativeServer, NativeStartError } from './binding.js';
import { CommandTable } from './command-table.js';
import {
  commandFlags,
  entriesPerTable,
  eventKinds,
  fieldsPerEntry,
  largeFlag,
  largeFrameBytes,
  lastFlag,
  requestFields,
  slabBytes,
  statusFields,
} from './crossing.js';
import { CustomInput, CustomRequest } from './custom-input.js';
import { NativeConnection, type Reframing } from './native-connection.js';
import { toNativeFraming } from './native-framing.js';

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

/** Servers whose threads have to end before the process may: leaving the main thread runs no hook. */
const running = new Set<NativeTransport<never>>();

process.on('exit', () => {
  for (const transport of running) transport.destroy('SERVER_CLOSED');
});

/** The native transport: the C++ core's processors and acceptors, one batch a crossing. */
export class NativeTransport<State> implements Transport<State> {
  readonly kind = 'native';
  readonly #settings: Settings<State>;
  readonly #events: TransportEvents<State>;
  readonly #binding: Binding;
  readonly #tables = makeTables();
  /** By processor and slot. */
  readonly #connections: (NativeConnection<State> | undefined)[][] = [];
  /** Connections whose opening was reported and whose end was not. */
  #open = 0;
  #native: NativeServer | null = null;
  #commands: CommandTable | null = null;
  #slab: Buffer = makeSlab();
  #slabUsed = 0;
  #bound: readonly Address[] = [];
  #isRef = true;
  #isDestroyed = false;
  #flushScheduled = false;
  #timer: NodeJS.Timeout | undefined;
  /** Ends a resize that waits for threads to leave. */
  #resized: (() => void) | null = null;

  constructor(binding: Binding, settings: Settings<State>, events: TransportEvents<State>) {
    this.#binding = binding;
    this.#settings = settings;
    this.#events = events;
  }

  async start(): Promise<void> {
    const { listeners, networkThreads, busyPollUs, onConnect } = this.#settings;
    const { queuedMaxRequests, maxPendingRequests, maxInFlightPerConnection } = this.#settings;
    const hosts = await Promise.all(listeners.map(({ host }) => resolveHost(host)));
    if (this.#isDestroyed) {
      throw new OdradekError('ERR_ODRADEK_INVALID_STATE', 'closed while it started');
    }
    const native = new this.#binding.NativeServer({
      listeners: listeners.map(({ port, backlog, framing }, index) => ({
        host: hosts[index] as string,
        port,
        backlog,
        framing: toNativeFraming(framing),
      })),
      networkThreads,
      busyPollUs,
      queuedMaxRequests,
      maxPendingRequests,
      maxInFlightPerConnection,
      waitsForAccept: onConnect !== undefined,
      now: performance.now(),
      tables: this.#tables,
    });
    const error = native.start(this.#onDoorbell);
    if (error !== undefined) throw this.#startError(error);
    this.#native = native;
    this.#commands = new CommandTable(native, this.#tables.commands, this.#tables.replies);
    this.#bound = native.counters().bound;
    running.add(this as unknown as NativeTransport<never>);
    if (!this.#isRef) native.unref();
  }

  #startError({ isThread, call, listener, errno }: NativeStartError): OdradekError {
    const code = getSystemErrorName(-errno);
    const { name, host, port } = this.#settings.listeners[Math.max(0, listener)] ?? {};
    const cause: NodeJS.ErrnoException & { address?: string; port?: number } = new Error(
      isThread ? `${call} ${code}` : `${call} ${code} ${host}:${port}`,
    );
    cause.code = code;
    cause.errno = -errno;
    cause.syscall = call;
    if (isThread) return new OdradekError('ERR_ODRADEK_THREAD', cause.message, { cause });
    if (host !== undefined) cause.address = host;
    if (port !== undefined) cause.port = port;
    return new OdradekError('ERR_ODRADEK_LISTEN', `${name}: ${cause.message}`, { cause });
  }

  async resizeNetworkThreads(threads: number): Promise<void> {
    const error = this.#native?.resize(threads);
    if (error !== undefined) throw this.#startError(error);
    while (!this.#isDestroyed && this.#native?.isResizing()) {
      await new Promise<void>((resolve) => {
        this.#resized = resolve;
      });
    }
  }

  address(listener: string): Address | undefined {
    const index = this.#settings.listeners.findIndex(({ name }) => name === listener);
    return this.#bound[index];
  }

  // --- What the core delivers -------------------------------------------------------------------

  readonly #onDoorbell = (): void => {
    try {
      this.#turn();
    } catch (error) {
      // Thrown through the addon, Node 20 would swallow it. The program may go on, and so do we.
      process.nextTick(() => {
        throw error;
      });
      setImmediate(this.#onDoorbell);
    }
  };

  /** Takes what there is, in batches, until there is no more or the event loop wants a turn. */
  #turn(): void {
    const native = this.#native;
    let left = requestsPerTurn;
    while (native !== null && !this.#isDestroyed) {
      const more = this.#takeBatch(native);
      left -= this.#lastBatch;
      // rest() refuses if somebody has rung since the claim: then there is more, too.
      if (!more && (this.#isDestroyed || native.rest())) {
        if (this.#settings.networkThreads === 0) this.#setTimer();
        return;
      }
      if (left <= 0) {
        setImmediate(this.#onDoorbell);
        return;
      }
    }
  }

  /** A processor without a thread has deadlines, too: it takes a turn when the next is over. */
  #setTimer(): void {
    clearTimeout(this.#timer);
    const timeoutMs = this.#tables.status[statusFields.timeoutMs] as number;
    if (timeoutMs > 0) this.#timer = setTimeout(this.#onDoorbell, timeoutMs).unref();
  }

  /** What the last claim brought, in requests of a turn. */
  #lastBatch = 0;

  /** Handles one claim; true if more is there to be claimed. */
  #takeBatch(native: NativeServer): boolean {
    // A program may have transferred the slab away with a body.
    const isUsedUp = this.#slabUsed > slabBytes - largeFrameBytes;
    if (isUsedUp || this.#slab.byteLength === 0) {
      this.#slab = makeSlab();
      this.#slabUsed = 0;
    }
    const slab = this.#slab;
    const larges: ArrayBuffer[] = [];
    const count = native.claim(slab, this.#slabUsed, larges);
    const { status } = this.#tables;
    const slabUsed = status[statusFields.slabUsed] as number;
    const bytes = slabUsed - this.#slabUsed;
    this.#slabUsed = slabUsed;
    this.#lastBatch = 1 + count + bytes / bytesPerRequest + larges.length * requestsPerLarge;
    const more = status[statusFields.more] === 1;
    // A connection's opening was posted before its first request, so it is among these.
    if (status[statusFields.events] === 1) this.#takeEvents(native);
    for (let i = 0; i < count; i++) this.#deliver(i, slab, larges);
    this.#events.turnEnded();
    return more;
  }

  #deliver(entry: number, slab: Buffer, larges: ArrayBuffer[]): void {
    const table = this.#tables.requests;
    const at = entry * fieldsPerEntry;
    const connection = this.#find(
      (table[at + field.processor] as number) % lastFlag,
      table[at + field.slot] as number,
      table[at + field.generation] as number,
    );
    if (this.#commands !== null) this.#commands.released++;
    if (connection === undefined) return;
    const where = table[at + field.offset] as number;
    const isLarge = where >= largeFlag;
    const memory = isLarge
      ? (larges[where - largeFlag] as ArrayBuffer)
      : (slab.buffer as ArrayBuffer);
    const offset = isLarge ? 0 : where;
    const bodyBegin = table[at + field.bodyBegin] as number;
    const bodyEnd = table[at + field.bodyEnd] as number;
    let body: Buffer;
    try {
      body = Buffer.from(memory, offset + bodyBegin, bodyEnd - bodyBegin);
      if (this.#settings.isolateBodies && connection.custom === null) body = isolated(body);
    } catch (error) {
      // Memory was refused, or a handler has just transferred the slab away.
      body = nothing;
      connection.closeWith('OUT_OF_MEMORY', String(error));
    }
    const sequence = table[at + field.sequence] as number;
    const receivedAt = this.#tables.times[entry] as number;
    connection.arrived(sequence, (table[at + field.processor] as number) >= lastFlag);
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
    if (connection.reframing === null) {
      this.#events.requestReceived(request);
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
    const piece = input.begin(sequence, bytes);
    // A handler that changes the framing ends this loop: what is left is cut by the new one.
    while (connection.reframing === null && connection.custom === input) {
      const request = input.take(connection, piece, receivedAt);
      if (request === null) break;
      this.#events.requestReceived(request);
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
    if (connection.inFlight > 0 || connection.backlog.length > 0) return;
    connection.closeWith(failure.code, failure.message);
  }

  #find(processor: number, slot: number, generation: number): NativeConnection<State> | undefined {
    const connection = this.#connections[processor]?.[slot];
    return connection?.generation === generation ? connection : undefined;
  }

  #takeEvents(native: NativeServer): void {
    for (const event of native.takeEvents()) this.#handleEvent(event);
  }

  #handleEvent(event: NativeEvent): void {
    if (event.kind === eventKinds.opened) {
      this.#opened(event);
    } else if (event.kind === eventKinds.acceptError) {
      this.#events.acceptError(systemError('accept', event.errno), this.#listenerName(event));
    } else if (event.kind === eventKinds.left) {
      this.#resized?.();
    } else if (event.kind === eventKinds.fatal) {
      const cause = systemError('poll', event.errno);
      this.#events.fatal(new OdradekError('ERR_ODRADEK_REACTOR_LOST', cause.message, { cause }));
    } else {
      const connection = this.#find(event.processor, event.slot, event.generation);
      if (connection === undefined) return;
      if (event.kind === eventKinds.closed) this.#closed(connection, event);
      else if (event.kind === eventKinds.reset) this.#events.connectionReset(connection);
      else if (event.kind === eventKinds.held) this.#held(connection, event.count);
      else this.#sent(connection, event);
    }
  }

  #listenerName(event: NativeEvent): string {
    return this.#settings.listeners[event.listener]?.name ?? '';
  }

  #opened(event: NativeEvent): void {
    const listener = this.#settings.listeners[event.listener];
    if (listener === undefined) return;
    const { processor, slot, generation, index } = event;
    const connection = new NativeConnection<State>(
      this,
      listener,
      {
        localAddress: event.localAddress,
        localPort: event.localPort,
        remoteAddress: event.remoteAddress,
        remotePort: event.remotePort,
      },
      processor,
      index,
      slot,
      generation,
    );
    if (listener.framing.kind === 'custom') {
      connection.custom = new CustomInput(listener.framing, this.#settings.isolateBodies);
      connection.inputs.push(connection.custom);
    }
    let slots = this.#connections[processor];
    if (slots === undefined) {
      slots = [];
      this.#connections[processor] = slots;
    }
    slots[slot] = connection;
    this.#open++;
    this.#events.connectionOpened(connection);
  }

  #held(connection: NativeConnection<State>, sequence: number): void {
    connection.held(sequence);
    const { reframing } = connection;
    if (reframing !== null && connection.isComplete) this.#reframe(connection, reframing);
  }

  #sent(connection: NativeConnection<State>, event: NativeEvent): void {
    const request = connection.awaitingSent.get(event.count);
    connection.awaitingSent.delete(event.count);
    connection.hasToldSent = true;
    if (event.ok) request?.settleSent({ ok: true });
    else request?.settleSent({ ok: false, reason: closeCodeOf(event.reason) });
  }

  #closed(connection: NativeConnection<State>, event: NativeEvent): void {
    const slots = this.#connections[connection.processor];
    if (slots !== undefined) slots[connection.slot] = undefined;
    const code = closeCodeOf(event.reason);
    for (const request of connection.awaitingSent.values()) {
      request.settleSent({ ok: false, reason: code });
      connection.hasToldSent = true;
    }
    connection.awaitingSent.clear();
    const { custom } = connection;
    const detail = connection.closeDetail ?? brokenFraming(code, connection.framing, event);
    const isTruncated = code === 'PEER_CLOSED' && custom !== null && !custom.decoder.isEmpty;
    const unanswered = custom === null ? event.count : custom.unanswered + custom.unsettled;
    const reason = makeCloseReason(isTruncated ? 'TRUNCATED_FRAME' : code, {
      unanswered,
      ...(event.errno > 0 ? { errno: getSystemErrorName(-event.errno) } : {}),
      ...(detail !== undefined ? { detail } : {}),
    });
    const tell = () => {
      this.#open--;
      this.#events.connectionClosed(connection, reason);
    };
    // The fates of its replies may have come in the same batch: whoever awaits them hears of them
    // first. At the server's end nothing is put off.
    if (connection.hasToldSent && !this.#isDestroyed) queueMicrotask(tell);
    else tell();
  }

  // --- What the server answers ------------------------------------------------------------------

  reply(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void {
    const connection = request.connection as NativeConnection<State>;
    const commands = this.#commands;
    if (commands === null || connection.ended) return;
    if (bytes !== null) commands.frame(connection, request.framer, bytes);
    // A close instead of a reply leaves the request without an answer.
    const isAnswered = bytes !== null || closeCode === null;
    if (request instanceof CustomRequest) {
      this.#replyCustom(connection, request, isAnswered, closeCode);
      return;
    }
    let flags = isAnswered ? 0 : commandFlags.discarded;
    if (request.sentAsked) {
      connection.awaitingSent.set(request.sequence, request);
      flags |= commandFlags.notify;
    }
    commands.settle(connection, request.sequence, 1, closeCode, flags);
    connection.nextReply = (request.sequence + 1) >>> 0;
    if (connection.inputs.length > 0) this.#settlePieces(connection, true);
  }

  /** The core counts pieces: the reply and its fate go for themselves. */
  #replyCustom(
    connection: NativeConnection<State>,
    request: CustomRequest<State>,
    isAnswered: boolean,
    closeCode: CloseCode | null,
  ): void {
    if (request.sentAsked || closeCode !== null) {
      const cookie = connection.nextCookie++;
      if (request.sentAsked) connection.awaitingSent.set(cookie, request);
      const flags =
        (request.sentAsked ? commandFlags.notify : 0) | (isAnswered ? 0 : commandFlags.discarded);
      this.#commands?.settle(connection, cookie, 0, closeCode, flags);
    }
    request.input.settle(request, isAnswered);
    this.#settlePieces(connection, connection.custom !== request.input);
  }

  /** Tells the core of the pieces of `custom` input that are done; see {@link CustomInput}. */
  #settlePieces(connection: NativeConnection<State>, all: boolean): void {
    const { inputs } = connection;
    if (inputs.length === 0 || connection.ended) return;
    for (const input of inputs) {
      const settled = input.takeSettled(connection.nextReply, all);
      if (settled === null) continue;
      this.#commands?.settle(connection, settled.sequence, settled.count, null, 0);
      connection.nextReply = (settled.sequence + settled.count) >>> 0;
    }
    const first = inputs[0];
    if (first !== connection.custom && first?.hasPieces === false) inputs.shift();
    this.#judge(connection);
  }

  discard(request: ServerRequest<State>): void {
    const connection = request.connection as NativeConnection<State>;
    if (connection.ended) return;
    if (request instanceof CustomRequest) {
      request.input.settle(request, false);
      this.#settlePieces(connection, connection.custom !== request.input);
      return;
    }
    this.#commands?.settle(connection, request.sequence, 1, null, commandFlags.discarded);
    connection.nextReply = (request.sequence + 1) >>> 0;
    if (connection.inputs.length > 0) this.#settlePieces(connection, true);
  }

  started(): void {
    if (this.#commands !== null) this.#commands.released--;
  }

  settled(): void {
    if (this.#commands !== null) this.#commands.released++;
  }

  flush(): void {
    this.#commands?.flush();
  }

  accept(connection: NativeConnection<State>, greeting: Uint8Array | null): void {
    if (connection.ended) return;
    if (greeting !== null) this.#commands?.frame(connection, connection.framer, greeting);
    this.#commands?.accept(connection);
    this.#flushSoon();
  }

  close(connection: NativeConnection<State>, code: CloseCode, detail?: string): void {
    if (connection.ended) return;
    connection.closeDetail = detail;
    this.#commands?.close(connection, code);
    this.#flushSoon();
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
    if (this.#settings.maxInFlightPerConnection > 1) {
      // The core may be cutting more at this moment: it has to say where it stops.
      connection.isComplete = false;
      if (before === null) this.#commands?.hold(connection);
      this.#flushSoon();
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
    connection.custom =
      framing.kind === 'custom' ? new CustomInput(framing, this.#settings.isolateBodies) : null;
    const bytes = Buffer.concat(parts);
    this.#commands?.setFraming(
      connection,
      toNativeFraming(framing),
      bytes.byteLength > 0 ? bytes : null,
      sequence,
      withdrawn,
    );
    if (connection.custom !== null) connection.inputs.push(connection.custom);
    this.#settlePieces(connection, true);
  }

  /** For what happens outside of the turns that the handler pool ends. */
  #flushSoon(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    process.nextTick(() => {
      this.#flushScheduled = false;
      this.flush();
    });
  }

  // --- The end ----------------------------------------------------------------------------------

  drain(): void {
    if (this.#native === null) this.#isDestroyed = true;
    this.#bound = [];
    // What was given before leaves first.
    this.flush();
    this.#native?.drain();
    this.#resized?.();
  }

  destroy(code: CloseCode): void {
    running.delete(this as unknown as NativeTransport<never>);
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#bound = [];
    clearTimeout(this.#timer);
    if (this.#native === null) return;
    this.flush();
    this.#native.stop(closeReasonNumbers[code]);
    this.#takeEvents(this.#native);
    this.#commands = null;
    this.#resized?.();
  }

  metrics(): TransportMetrics {
    const counters = this.#native?.counters();
    const processors = counters?.processors ?? [];
    const sum = (name: 'closed' | 'requests' | 'responses' | 'waitingForRoom') =>
      processors.reduce((total, processor) => total + processor[name], 0);
    return {
      connections: this.#open,
      connectionsAcceptedTotal: counters?.accepted ?? 0,
      connectionsClosedTotal: sum('closed'),
      acceptErrorsTotal: counters?.acceptErrors ?? 0,
      requestsTotal: sum('requests'),
      responsesTotal: sum('responses'),
      bytesReadTotal: processors.reduce((total, { bytesRead }) => total + bytesRead, 0),
      bytesWrittenTotal: processors.reduce((total, { bytesWritten }) => total + bytesWritten, 0),
      requestQueueSize: counters?.queued ?? 0,
      pendingRequests: counters?.pending ?? 0,
      connectionsWaitingForRoom: sum('waitingForRoom'),
      processors: processors
        .map((processor, id) => ({ ...processor, id }))
        .filter(({ hasLeft }) => !hasLeft)
        .map(({ id, connections, turns, reads, writes, polls, wakes }) => ({
          id,
          connections,
          turns,
          readCalls: reads,
          writeCalls: writes,
          pollCalls: polls,
          wakeCalls: wakes,
        })),
    };
  }

  ref(): void {
    this.#isRef = true;
    this.#native?.ref();
  }

  unref(): void {
    this.#isRef = false;
    this.#native?.unref();
  }
}

/** Memory for small bodies. It is never used twice, so a body never changes under its handler. */
function makeSlab(): Buffer {
  const slab = Buffer.allocUnsafeSlow(slabBytes);
  // Bodies share it: one that is transferred away would empty the others.
  markAsUntransferable(slab.buffer);
  return slab;
}

function makeTables() {
  return {
    requests: new Uint32Array(entriesPerTable * fieldsPerEntry),
    times: new Float64Array(entriesPerTable),
    status: new Uint32Array(Object.keys(statusFields).length),
    commands: new Uint32Array(entriesPerTable * fieldsPerEntry),
    replies: new Uint8Array(slabBytes),
  };
}

function isolated(body: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(body.byteLength);
  body.copy(own);
  return own;
}

/** What a frame did wrong, in the words that the js transport has for it. */
function brokenFraming(code: CloseCode, framing: Framing, event: NativeEvent): string | undefined {
  if (code === 'FRAME_LENGTH_INVALID') return `the length field says ${event.declared}`;
  if (code !== 'FRAME_TOO_LARGE') return undefined;
  return `${event.declared} bytes, maxFrameBytes is ${framing.maxFrameBytes}`;
}

function systemError(syscall: string, errno: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno);
  const error: NodeJS.ErrnoException = new Error(`${syscall} ${code}`);
  error.code = code;
  error.errno = -errno;
  error.syscall = syscall;
  return error;
}
