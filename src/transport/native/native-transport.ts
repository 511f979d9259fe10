import { performance } from 'node:perf_hooks';
import { getSystemErrorName } from 'node:util';
import {
  type CloseCode,
  closeCodeOf,
  closeReasonNumbers,
  makeCloseReason,
} from '../../close-reason.js';
import { OdradekError } from '../../errors.js';
import { Expiry } from '../../expiry.js';
import { Fifo } from '../../fifo.js';
import type { Framing } from '../../framing.js';
import type { HandlerLinks, HandlerLinksEvents } from '../../handler-pool/thread-protocol.js';
import type { Limits } from '../../limits.js';
import type { TransportMetrics } from '../../metrics.js';
import type { Listener, Settings } from '../../options.js';
import type { ServerRequest } from '../../request.js';
import { TransportTimes } from '../../request-times.js';
import { resolveHost } from '../../resolve-host.js';
import type { Address, Transport, TransportEvents } from '../../transport.js';
import type {
  Binding,
  NativeEvent,
  NativeListenerConfig,
  NativeLostRequest,
  NativeServer,
  NativeStartError,
} from './binding.js';
import { CommandTable, type Target } from './command-table.js';
import { commandFlags, eventKinds, statusFields } from './crossing.js';
import { NativeConnection } from './native-connection.js';
import { toNativeFraming } from './native-framing.js';
import { NativeLinks } from './native-links.js';
import { makeTables, NativeSide } from './native-side.js';

/** Servers whose threads have to end before the process may: leaving the main thread runs no hook. */
const running = new Set<NativeTransport<never>>();

process.on('exit', () => {
  for (const transport of running) transport.destroy('SERVER_CLOSED');
});

/** The native transport: the C++ core's processors and acceptors, one batch a crossing. */
export class NativeTransport<State> extends NativeSide<State> implements Transport<State> {
  readonly kind = 'native';
  readonly #settings: Settings<State>;
  readonly #events: TransportEvents<State>;
  readonly #binding: Binding;
  /** By processor and slot. */
  readonly #connections: (NativeConnection<State> | undefined)[][] = [];
  /** Events that were taken from the core and not handled. */
  readonly #untaken = new Fifo<NativeEvent>();
  /** Connections whose opening was reported and whose end was not. */
  #open = 0;
  #native: NativeServer | null = null;
  #links: NativeLinks<State> | null = null;
  /** By listener. */
  readonly #bound = new Map<Listener<State>, Address>();
  #isRef = true;
  #isDraining = false;
  #isDestroyed = false;
  #timer: NodeJS.Timeout | undefined;
  /** Ends a resize that waits for threads to leave. */
  #resized: (() => void) | null = null;

  constructor(binding: Binding, settings: Settings<State>, events: TransportEvents<State>) {
    super(settings, events, makeTables());
    this.#binding = binding;
    this.expiry = new Expiry(settings.limits.current.timeouts, this.customs);
    this.#settings = settings;
    this.#events = events;
  }

  async start(): Promise<void> {
    const { handlerPool, networkThreads, busyPollUs, onConnect } = this.#settings;
    const listeners = [...this.#settings.listeners];
    const { queuedMaxRequests, maxPendingRequests, maxInFlightPerConnection } = this.#settings;
    const hosts = await Promise.all(listeners.map(({ host }) => resolveHost(host)));
    if (this.#isDestroyed) {
      throw new OdradekError('ERR_ODRADEK_INVALID_STATE', 'closed while it started');
    }
    const native = new this.#binding.NativeServer({
      listeners: listeners.map((listener, index) => toConfig(listener, hosts[index] as string)),
      networkThreads,
      busyPollUs,
      queuedMaxRequests,
      maxPendingRequests,
      maxInFlightPerConnection,
      ...this.#settings.limits.current,
      waitsForAccept: onConnect !== undefined,
      hasHandlerPool: handlerPool !== null,
      hasAffinity: handlerPool?.affinity === 'connection',
      now: () => performance.now(),
      tables: this.tables,
    });
    const error = native.start(this.onDoorbell);
    if (error !== undefined) throw this.#startError(error);
    this.#native = native;
    this.commands = new CommandTable(native, this.tables, {
      // Where threads answer, too, its parts may have to wait for their turn together.
      keepsRepliesWhole: this.#settings.handlerPool !== null,
    });
    for (const listener of listeners) this.#bound.set(listener, native.bound(listener.index));
    running.add(this as unknown as NativeTransport<never>);
    if (!this.#isRef) native.unref();
  }

  #startError({ isThread, call, listener, errno }: NativeStartError): OdradekError {
    const code = getSystemErrorName(-errno);
    const { name, host, port } = this.#settings.listeners.at(Math.max(0, listener)) ?? {};
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

  address(listener: Listener<State>): Address | undefined {
    return this.#bound.get(listener);
  }

  // --- Listeners --------------------------------------------------------------------------------

  async addListener(listener: Listener<State>): Promise<void> {
    const host = await resolveHost(listener.host);
    const native = this.#native;
    if (native === null || this.#isDraining || this.#isDestroyed) {
      throw new OdradekError('ERR_ODRADEK_INVALID_STATE', 'closed while a listener was opened');
    }
    const { index } = listener;
    const refused = native.openListener(index, toConfig(listener, host));
    if (refused !== undefined) throw this.#startError(refused);
    // Before the first connection; and threads that are made from here on know it.
    this.#settings.listeners.opened(listener);
    this.#links?.tellListener(listener);
    const failed = native.serveListener(index);
    if (failed !== undefined) throw this.#startError(failed);
    this.#bound.set(listener, native.bound(index));
  }

  drainListener(listener: Listener<State>): void {
    this.#bound.delete(listener);
    // What was given before leaves first.
    this.flush();
    this.#native?.drainListener(listener.index);
  }

  cutListener({ index }: Listener<State>): void {
    this.flush();
    this.#native?.cutListener(index);
  }

  listenerCounts({ index }: Listener<State>): { connections: number; answered: number } {
    const counts = this.#native?.ofListener(index) ?? { connections: 0, answered: 0 };
    // Those that are gone have posted all that there is to hear of them.
    if (counts.connections === 0) this.takeEvents();
    return counts;
  }

  // --- The handler pool -------------------------------------------------------------------------

  links(events: HandlerLinksEvents<State>): HandlerLinks {
    const host = {
      server: () => this.#native,
      find: (name: Target) => this.#findNamed(name),
      wait: (waiting: readonly NativeLostRequest[]) => this.#wait(waiting),
    };
    this.#links = new NativeLinks(this.#settings, host, events);
    return this.#links;
  }

  /** A thread may tell of a connection before this one has taken the event of its opening. */
  #findNamed({ processor, slot, generation }: Target): NativeConnection<State> | undefined {
    const known = this.#find(processor, slot, generation);
    if (known !== undefined) return known;
    this.takeEvents();
    return this.#find(processor, slot, generation);
  }

  override reply(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void {
    super.reply(request, bytes, closeCode);
    const connection = request.connection as NativeConnection<State>;
    if (connection.hasWaiting && connection.inFlight === 0) this.#endWaiting(connection);
  }

  /** Nobody begins these before everything ahead of them is answered, which some of it may be. */
  #wait(waiting: readonly NativeLostRequest[]): void {
    const connections = new Set<NativeConnection<State>>();
    for (const request of waiting) {
      const { processor, slot, generation, sequence } = request;
      const connection = this.#findNamed(request);
      connection?.more.waiting.push(sequence);
      if (connection === undefined) this.#native?.endWaiting(processor, slot, generation, false);
      else connections.add(connection);
    }
    for (const connection of connections) {
      if (connection.inFlight === 0) this.#endWaiting(connection);
    }
  }

  /** What a lost thread had begun is answered: others may begin what it had claimed behind that. */
  #endWaiting(connection: NativeConnection<State>): void {
    const { processor, slot, generation, more, closing, ended } = connection;
    const { waiting } = more;
    more.waiting = [];
    if (closing && !ended) {
      for (const sequence of waiting) {
        this.commands?.settle(connection, sequence, 1, null, commandFlags.discarded);
      }
    }
    this.#native?.endWaiting(processor, slot, generation, !closing && !ended);
  }

  // --- What the core delivers -------------------------------------------------------------------

  /** A processor without a thread has deadlines, too: it takes a turn when the next is over. */
  #setTimer(): void {
    clearTimeout(this.#timer);
    const timeoutMs = this.tables.status[statusFields.timeoutMs] as number;
    if (timeoutMs > 0) this.#timer = setTimeout(this.onDoorbell, timeoutMs).unref();
  }

  protected claim(slab: Buffer, used: number, larges: ArrayBuffer[]): number {
    return this.#native?.claim(slab, used, larges) ?? 0;
  }

  protected takeBack(memory: ArrayBuffer): void {
    this.#native?.takeBack(memory);
  }

  protected rest(): boolean {
    if (this.#native?.rest() === false) return false;
    if (this.#settings.networkThreads === 0) this.#setTimer();
    return true;
  }

  protected meet(
    processor: number,
    slot: number,
    generation: number,
  ): NativeConnection<State> | undefined {
    if (this.commands !== null) this.commands.released++;
    return this.#find(processor, slot, generation);
  }

  #find(processor: number, slot: number, generation: number): NativeConnection<State> | undefined {
    const connection = this.#connections[processor]?.[slot];
    return connection?.generation === generation ? connection : undefined;
  }

  protected takeEvents(): void {
    for (const event of this.#native?.takeEvents() ?? []) this.#untaken.push(event);
    // One of them may lead here again: the order stays.
    let event = this.#untaken.shift();
    while (event !== undefined) {
      this.#handleEvent(event);
      event = this.#untaken.shift();
    }
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
      else this.connectionEvent(connection, event);
    }
  }

  #listenerName(event: NativeEvent): string {
    return this.#settings.listeners.at(event.listener)?.name ?? '';
  }

  #opened(event: NativeEvent): void {
    const listener = this.#settings.listeners.at(event.listener);
    if (listener === undefined) return;
    const { processor, slot, generation, index } = event;
    const connection = new NativeConnection<State>(
      this,
      listener,
      event,
      processor,
      index,
      slot,
      generation,
    );
    if (listener.framing.kind === 'custom') {
      this.cutHere(connection, listener.framing);
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

  #closed(connection: NativeConnection<State>, event: NativeEvent): void {
    const code = closeCodeOf(event.reason);
    // What the service said of it is said to a connection that is still known.
    if (code === 'CLOSED_BY_SERVICE') this.#links?.catchUp();
    const slots = this.#connections[connection.processor];
    if (slots !== undefined) slots[connection.slot] = undefined;
    if (connection.hasWaiting) {
      connection.ended = true;
      this.#endWaiting(connection);
    }
    connection.forgetSent(code);
    const { custom, extras } = connection;
    const detail = extras?.closeDetail ?? brokenFraming(code, connection.framing, event);
    const isTruncated = code === 'PEER_CLOSED' && custom !== null && !custom.decoder.isEmpty;
    const unanswered = custom === null ? event.count : custom.unanswered + custom.unsettled;
    const reason = makeCloseReason(isTruncated ? 'TRUNCATED_FRAME' : code, {
      unanswered,
      ...(event.errno > 0 ? { errno: getSystemErrorName(-event.errno) } : {}),
      ...(detail !== undefined ? { detail } : {}),
    });
    if (this.customs.delete(connection) && this.customs.size === 0) this.expiry?.stop();
    const tell = () => {
      this.#open--;
      this.#events.connectionClosed(connection, reason);
    };
    // The fates of its replies may have come in the same batch: whoever awaits them hears of them
    // first. At the server's end nothing is put off.
    if (extras?.hasToldSent && !this.#isDestroyed) queueMicrotask(tell);
    else tell();
  }

  /** The core asks nobody: it keeps what nobody claims. */
  admitAgain(): void {}

  started(): void {
    if (this.commands !== null) this.commands.released--;
  }

  settled(): void {
    if (this.commands !== null) this.commands.released++;
  }

  updateLimits(limits: Limits): void {
    this.expiry?.update(limits.timeouts);
    this.#native?.updateLimits(limits);
  }

  closeIdle(): void {
    // What was given before leaves first.
    this.flush();
    this.#native?.closeIdle();
  }

  *connections(): Iterable<NativeConnection<State>> {
    for (const slots of this.#connections) {
      for (const connection of slots ?? []) if (connection !== undefined) yield connection;
    }
  }

  // --- The end ----------------------------------------------------------------------------------

  drain(): void {
    if (this.#native === null) this.#isDestroyed = true;
    this.#isDraining = true;
    this.#bound.clear();
    // What was given before leaves first.
    this.flush();
    this.#native?.drain();
    this.#resized?.();
  }

  destroy(code: CloseCode): void {
    running.delete(this as unknown as NativeTransport<never>);
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#bound.clear();
    clearTimeout(this.#timer);
    this.expiry?.stop();
    if (this.#native === null) return;
    this.flush();
    this.#native.stop(closeReasonNumbers[code]);
    this.#links?.end(code);
    this.takeEvents();
    this.commands = null;
    this.#resized?.();
  }

  get openConnections(): number {
    const processors = this.#native?.counters().processors ?? [];
    return processors.reduce((sum, { connections }) => sum + connections, 0);
  }

  times(): TransportTimes {
    const times = new TransportTimes();
    this.#native?.times(times.memory);
    return times;
  }

  longestWaitMs(): number {
    return this.#native?.longestWaitMs() ?? 0;
  }

  metrics(): TransportMetrics {
    const counters = this.#native?.counters();
    const processors = counters?.processors ?? [];
    const listeners = counters?.listeners ?? [];
    const { queuedMaxRequestBytes } = this.#settings.limits.current.memory;
    const memoryPoolUsed = counters?.memoryUsed ?? 0;
    const sum = (name: ProcessorTotal) =>
      processors.reduce((total, processor) => total + processor[name], 0);
    return {
      connections: this.#open,
      connectionsAcceptedTotal: listeners.reduce((total, { accepted }) => total + accepted, 0),
      connectionsClosedTotal: sum('closed'),
      acceptErrorsTotal: listeners.reduce((total, { errors }) => total + errors, 0),
      connectionsEvictedTotal: sum('evicted'),
      requestsTotal: sum('requests'),
      responsesTotal: sum('responses'),
      bytesReadTotal: processors.reduce((total, { bytesRead }) => total + bytesRead, 0),
      bytesWrittenTotal: processors.reduce((total, { bytesWritten }) => total + bytesWritten, 0),
      requestQueueSize: counters?.queued ?? 0,
      pendingRequests: counters?.pending ?? 0,
      connectionsWaitingForRoom: sum('waitingForRoom'),
      connectionsWaitingForMemory: sum('waitingForMemory'),
      memoryPoolAvailable: queuedMaxRequestBytes - memoryPoolUsed,
      memoryPoolUsed,
      memoryPoolDepletedMs: (counters?.memoryDepletedUs ?? 0) / 1000,
      longestWaitMs: this.longestWaitMs(),
      unsentBytes: counters?.unsent ?? 0,
      connectionsShedTotal: sum('shed'),
      requestsThrottledTotal: sum('throttles'),
      connectionsThrottled: sum('throttled'),
      listeners: [...this.#settings.listeners].flatMap(({ index, name }) => {
        const counts = listeners[index];
        if (counts === undefined) return [];
        return {
          name,
          connections: counts.connections,
          connectionsAcceptedTotal: counts.accepted,
          connectionsRefusedTotal: counts.refused ?? 0,
          connectionsThrottledTotal: counts.throttled ?? 0,
          throttledSockets: counts.parked ?? 0,
          blockedMs: (counts.blockedUs ?? 0) / 1000,
          connectionAcceptThrottleTimesTotal: counts.rateWaits ?? 0,
          connectionAcceptThrottleMs: (counts.rateWaitUs ?? 0) / 1000,
          ipConnectionAcceptThrottleMs: (counts.parkedUs ?? 0) / 1000,
        };
      }),
      processors: processors
        .map((processor, id) => ({ ...processor, id }))
        .filter(({ hasLeft }) => !hasLeft)
        .map(({ id, connections, turns, reads, writes, polls, wakes, idleUs }) => ({
          id,
          connections,
          turns,
          readCalls: reads,
          writeCalls: writes,
          pollCalls: polls,
          wakeCalls: wakes,
          idleMs: idleUs / 1000,
        })),
    };
  }

  ref(): void {
    this.#isRef = true;
    this.later.hold(true);
    this.#native?.ref();
  }

  unref(): void {
    this.#isRef = false;
    this.later.hold(false);
    this.#native?.unref();
  }
}

function toConfig<State>(listener: Listener<State>, host: string): NativeListenerConfig {
  const { port, backlog, framing } = listener;
  return { host, port, backlog, framing: toNativeFraming(framing) };
}

/** What is the sum of its processors'. */
type ProcessorTotal =
  | 'closed'
  | 'requests'
  | 'responses'
  | 'waitingForRoom'
  | 'waitingForMemory'
  | 'evicted'
  | 'shed'
  | 'throttles'
  | 'throttled';

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
