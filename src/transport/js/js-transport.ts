import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { CloseCode } from '../../close-reason.js';
import type { Endpoints, ServerConnection } from '../../connection.js';
import { OdradekError } from '../../errors.js';
import type { Framing } from '../../framing.js';
import type { Limits } from '../../limits.js';
import type { TransportMetrics } from '../../metrics.js';
import type { Listener, Settings } from '../../options.js';
import type { ServerRequest } from '../../request.js';
import type { TransportTimes } from '../../request-times.js';
import type { Address, Transport, TransportEvents } from '../../transport.js';
import { maxConnectionIndex } from './bounds.js';
import type { Admission } from './connection-quotas.js';
import { JsAcceptor } from './js-acceptor.js';
import { JsChannel } from './js-channel.js';
import { JsProcessor } from './js-processor.js';

/** The longest that a timer of Node waits. */
const longestTimerMs = 2_147_483_647;

/** The transport on `node:net`: what the native one does, on the event loop of the process. */
export class JsTransport<State = unknown> implements Transport<State> {
  readonly kind = 'js';
  readonly #settings: Settings<State>;
  readonly #events: TransportEvents<State>;
  readonly #processor: JsProcessor<State>;
  readonly #acceptors = new Map<Listener<State>, JsAcceptor<State>>();
  /** Holds the process where no listener does. */
  #keeper: NodeJS.Timeout | undefined;
  #isEnding = false;
  #isHeld = true;
  #nextIndex = 0;

  constructor(settings: Settings<State>, events: TransportEvents<State>) {
    this.#settings = settings;
    this.#events = events;
    this.#processor = new JsProcessor(settings, events);
    this.#processor.onRoom = () => this.#goOnAccepting();
  }

  async start(): Promise<void> {
    try {
      for (const listener of this.#settings.listeners) await this.#open(listener);
    } catch (error) {
      this.destroy('SERVER_CLOSED');
      throw error;
    }
  }

  async #open(listener: Listener<State>): Promise<void> {
    const acceptor = new JsAcceptor(listener, this.#processor.quotas, {
      accepted: (...accepted) => this.#accepted(listener, ...accepted),
      failed: (error) => {
        this.#processor.counters.acceptErrorsTotal++;
        this.#events.acceptError(error, listener.name);
      },
    });
    acceptor.hold(this.#isHeld);
    this.#acceptors.set(listener, acceptor);
    await acceptor.open();
    if (!this.#isEnding) return;
    throw new OdradekError('ERR_ODRADEK_INVALID_STATE', 'closed while a listener was opened');
  }

  async addListener(listener: Listener<State>): Promise<void> {
    try {
      await this.#open(listener);
    } catch (error) {
      this.#acceptors.get(listener)?.close();
      this.#acceptors.delete(listener);
      throw error;
    }
    this.#keep();
  }

  drainListener(listener: Listener<State>): void {
    this.#acceptors.get(listener)?.close();
    this.#acceptors.delete(listener);
    this.#keep();
    this.#processor.drainListener(listener);
  }

  cutListener(listener: Listener<State>): void {
    for (const channel of this.#processor.channelsOf(listener)) channel.cut('DEADLINE');
  }

  listenerCounts(listener: Listener<State>): { connections: number; answered: number } {
    const { quotas, drained } = this.#processor;
    return {
      connections: quotas.ofListener(listener.index).connections,
      answered: drained.get(listener) ?? 0,
    };
  }

  /** A server without listeners keeps the process alive, as others do. */
  #keep(): void {
    const isNeeded = this.#acceptors.size === 0 && !this.#isEnding;
    clearInterval(this.#keeper);
    this.#keeper = isNeeded ? setInterval(() => undefined, longestTimerMs) : undefined;
    if (!this.#isHeld) this.#keeper?.unref();
  }

  #goOnAccepting(): void {
    for (const acceptor of this.#acceptors.values()) acceptor.goOn();
  }

  #accepted(
    listener: Listener<State>,
    socket: Socket,
    endpoints: Endpoints,
    admission: Admission,
  ): void {
    const index = this.#nextIndex;
    this.#nextIndex = index === maxConnectionIndex ? 0 : index + 1;
    const { isolateBodies, maxInFlightPerConnection, maxUnsentBytesPerConnection, onConnect } =
      this.#settings;
    const processor = this.#processor;
    const channel = new JsChannel<State>(
      this,
      processor,
      socket,
      listener,
      endpoints,
      admission,
      index,
      isolateBodies,
      maxInFlightPerConnection,
      maxUnsentBytesPerConnection,
    );
    if (!this.#isHeld) channel.hold(false);
    processor.add(channel);
    if (onConnect === undefined) channel.open(null);
    processor.closeExcessConnections();
  }

  updateLimits({ timeouts, connections, memory }: Limits): void {
    this.#processor.memory.resize(memory.queuedMaxRequestBytes);
    this.#processor.unsent.resize(memory.maxUnsentBytes);
    this.#processor.expiry.update(timeouts);
    this.#processor.quotas.update(connections);
    this.#processor.closeExcessConnections();
    this.#goOnAccepting();
  }

  address(listener: Listener<State>): Address | undefined {
    return this.#acceptors.get(listener)?.address;
  }

  reply(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void {
    this.#processor.reply(request, bytes, closeCode);
  }

  givenAt(now: number): void {
    this.#processor.givenAt(now);
  }

  started(): void {
    this.#processor.started();
  }

  settled(): void {
    this.#processor.settled();
  }

  /** Its requests are on this thread, whose handler pool gives them to others. */
  links(): null {
    return null;
  }

  admitAgain(): void {
    this.#processor.admitAgain();
  }

  discard(request: ServerRequest<State>): void {
    this.#processor.discard(request);
  }

  flush(): void {
    this.#processor.flush();
  }

  accept(connection: ServerConnection<State>, greeting: Uint8Array | null): void {
    (connection as JsChannel<State>).open(greeting);
  }

  close(connection: ServerConnection<State>, code: CloseCode, detail?: string): void {
    const ending = detail === undefined ? { code } : { code, detail };
    (connection as JsChannel<State>).closeInOrder(ending);
  }

  get sendHighWaterMarkBytes(): number {
    return this.#settings.sendHighWaterMarkBytes;
  }

  get maxUnsentBytesPerConnection(): number {
    return this.#settings.maxUnsentBytesPerConnection;
  }

  send(connection: ServerConnection<State>, bytes: Uint8Array | readonly Uint8Array[]): number {
    const unsent = (connection as JsChannel<State>).push(bytes);
    this.#processor.flushSoon();
    return unsent;
  }

  throttle(connection: ServerConnection<State>, ms: number): void {
    (connection as JsChannel<State>).muteFor(ms);
  }

  setFraming(
    connection: ServerConnection<State>,
    framing: Framing,
    unread: readonly ServerRequest<State>[],
  ): void {
    this.#processor.reframe(connection as JsChannel<State>, framing, unread);
  }

  /** Nothing to do: the event loop is the one processor. */
  async resizeNetworkThreads(): Promise<void> {}

  closeIdle(): void {
    for (const channel of [...this.#processor.channels]) channel.closeIfIdle();
  }

  connections(): Iterable<JsChannel<State>> {
    return this.#processor.channels;
  }

  drain(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#keep();
    for (const acceptor of this.#acceptors.values()) acceptor.close();
    for (const channel of [...this.#processor.channels]) channel.drain('SERVER_CLOSED');
  }

  destroy(code: CloseCode): void {
    this.#isEnding = true;
    this.#keep();
    for (const acceptor of this.#acceptors.values()) acceptor.close();
    this.#processor.destroy(code);
  }

  get openConnections(): number {
    return this.#processor.channels.size;
  }

  times(): TransportTimes {
    return this.#processor.times;
  }

  longestWaitMs(): number {
    const { requestChannel, memory } = this.#processor;
    const since = Math.min(requestChannel.waitsSince, memory.waitsSince);
    return Math.max(0, performance.now() - since);
  }

  metrics(): TransportMetrics {
    const { counters, channels, requestChannel, memory, unsent } = this.#processor;
    return {
      connections: channels.size,
      connectionsAcceptedTotal: counters.connectionsAcceptedTotal,
      connectionsClosedTotal: counters.connectionsClosedTotal,
      acceptErrorsTotal: counters.acceptErrorsTotal,
      connectionsEvictedTotal: counters.connectionsEvictedTotal,
      listeners: [...this.#settings.listeners].flatMap(
        (listener) => this.#acceptors.get(listener)?.counts() ?? [],
      ),
      requestsTotal: counters.requestsTotal,
      responsesTotal: counters.responsesTotal,
      bytesReadTotal: counters.bytesReadTotal,
      bytesWrittenTotal: counters.bytesWrittenTotal,
      requestQueueSize: requestChannel.queued,
      pendingRequests: requestChannel.pending,
      connectionsWaitingForRoom: requestChannel.waiting,
      connectionsWaitingForMemory: memory.waiting,
      memoryPoolAvailable: memory.available,
      memoryPoolUsed: memory.used,
      memoryPoolDepletedMs: memory.depletedMs,
      longestWaitMs: this.longestWaitMs(),
      unsentBytes: unsent.total,
      connectionsShedTotal: unsent.shedTotal,
      requestsThrottledTotal: counters.requestsThrottledTotal,
      connectionsThrottled: counters.connectionsThrottled,
      processors: [
        {
          id: 0,
          connections: channels.size,
          turns: counters.turns,
          readCalls: counters.readCalls,
          writeCalls: counters.writeCalls,
          pollCalls: 0,
          wakeCalls: 0,
          idleMs: performance.eventLoopUtilization().idle,
        },
      ],
    };
  }

  ref(): void {
    this.#hold(true);
  }

  unref(): void {
    this.#hold(false);
  }

  #hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#keep();
    for (const acceptor of this.#acceptors.values()) acceptor.hold(isHeld);
    this.#processor.later.hold(isHeld);
    this.#processor.memory.hold(isHeld);
    for (const channel of this.#processor.channels) channel.hold(isHeld);
  }
}
