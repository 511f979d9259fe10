import { performance } from 'node:perf_hooks';
import type { CloseCode, CloseReason } from '../../close-reason.js';
import { Expiry } from '../../expiry.js';
import { Fifo } from '../../fifo.js';
import type { Framing } from '../../framing.js';
import { LoopTurn } from '../../loop-turn.js';
import type { Listener, Settings } from '../../options.js';
import type { ServerRequest } from '../../request.js';
import { TransportTimes } from '../../request-times.js';
import type { TransportEvents } from '../../transport.js';
import { maxBytesPerTurn, maxRequestsPerTurn } from './bounds.js';
import { ConnectionQuotas } from './connection-quotas.js';
import { Counters } from './counters.js';
import type { ChannelHost, JsChannel } from './js-channel.js';
import { MemoryPool } from './memory-pool.js';
import { ReplySlab } from './outbox.js';
import { RequestChannel } from './request-channel.js';
import { UnsentBytes } from './unsent-bytes.js';

/**
 * Serves the channels: Kafka's Processor, on the event loop. Channels with frames line up and are
 * served in turns, each in `setImmediate` after the reads of one poll, so that what arrived
 * together is delivered together and other work of the process gets its share.
 */
export class JsProcessor<State> implements ChannelHost<State> {
  readonly slab = new ReplySlab();
  readonly counters = new Counters();
  readonly times = new TransportTimes();
  readonly channels = new Set<JsChannel<State>>();
  readonly requestChannel: RequestChannel<State, JsChannel<State>>;
  readonly expiry: Expiry<JsChannel<State>>;
  readonly quotas: ConnectionQuotas;
  readonly memory: MemoryPool;
  readonly unsent: UnsentBytes;
  /** Of listeners that were removed: replies to their connections since. */
  readonly drained = new Map<Listener<State>, number>();
  moments = 0;
  /** A connection has given its place back. */
  onRoom: () => void = () => undefined;
  readonly #events: TransportEvents<State>;
  readonly #ready = new Fifo<JsChannel<State>>();
  #dirty: JsChannel<State>[] = [];
  #isServing = false;
  #isFlushing = false;
  #isFlushAsked = false;
  /** Its last replies were given at a moment that is still to be told. */
  #answering: JsChannel<State> | null = null;
  #requestsLeft = 0;
  #bytesLeft = 0;

  constructor(settings: Settings<State>, events: TransportEvents<State>) {
    this.#events = events;
    this.expiry = new Expiry(settings.limits.current.timeouts, this.channels);
    this.quotas = new ConnectionQuotas(settings.limits.current.connections);
    const { queuedMaxRequestBytes, maxUnsentBytes } = settings.limits.current.memory;
    this.memory = new MemoryPool(queuedMaxRequestBytes, this.channels);
    this.unsent = new UnsentBytes(maxUnsentBytes, this.channels);
    this.requestChannel = new RequestChannel(
      settings.queuedMaxRequests,
      settings.maxPendingRequests,
      (request) => events.admits(request),
    );
  }

  add(channel: JsChannel<State>): void {
    this.channels.add(channel);
    this.expiry.start();
    this.counters.connectionsAcceptedTotal++;
    this.#events.connectionOpened(channel);
  }

  reply(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void {
    const channel = request.connection as JsChannel<State>;
    if (!this.channels.has(channel)) return;
    if (this.#answering !== null && this.#answering !== channel) this.givenAt(performance.now());
    this.#answering = channel;
    channel.settle(request, bytes, closeCode);
    this.#goOnLater();
  }

  givenAt(now: number): void {
    this.#answering?.givenAt(now);
    this.#answering = null;
  }

  discard(request: ServerRequest<State>): void {
    const channel = request.connection as JsChannel<State>;
    if (!this.channels.has(channel)) return;
    channel.discard(request);
    this.#goOnLater();
  }

  reframe(
    channel: JsChannel<State>,
    framing: Framing,
    unread: readonly ServerRequest<State>[],
  ): void {
    if (!this.channels.has(channel)) return;
    channel.reframe(framing, [...unread, ...this.requestChannel.withdraw(channel)]);
    this.#goOnLater();
  }

  started(): void {
    this.requestChannel.start();
  }

  settled(): void {
    this.requestChannel.settle();
    this.#goOnLater();
  }

  admitAgain(): void {
    this.requestChannel.admitAgain();
    this.#goOnLater();
  }

  /** For what is given outside of the turns that the handler pool ends. */
  flushSoon(): void {
    if (this.#isFlushAsked) return;
    this.#isFlushAsked = true;
    process.nextTick(() => {
      this.#isFlushAsked = false;
      this.flush();
    });
  }

  /** Writes every reply that was given since the last flush. */
  flush(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    while (this.#dirty.length > 0) {
      const dirty = this.#dirty;
      this.#dirty = [];
      for (const channel of dirty) {
        channel.dirty = false;
        // Some of its replies are in the slab, on their way or behind a write under way.
        if (!channel.flush()) this.slab.pin();
      }
    }
    this.slab.rewind();
    this.#isFlushing = false;
    this.unsent.shed();
  }

  /** Ends every connection at this moment. */
  destroy(code: CloseCode): void {
    for (const channel of [...this.channels]) channel.destroy(code);
    this.requestChannel.clear();
    this.#ready.clear();
    this.#dirty = [];
    this.later.forget();
    this.memory.clear();
  }

  /** Those of a listener, as they are at this moment. */
  channelsOf(listener: Listener<State>): JsChannel<State>[] {
    return [...this.channels].filter(({ listenerConfig }) => listenerConfig === listener);
  }

  drainListener(listener: Listener<State>): void {
    const channels = this.channelsOf(listener);
    this.drained.set(
      listener,
      channels.reduce((sum, { answered }) => sum - answered, 0),
    );
    for (const channel of channels) channel.drain('LISTENER_REMOVED');
  }

  markDirty(channel: JsChannel<State>): void {
    if (channel.dirty) return;
    channel.dirty = true;
    this.#dirty.push(channel);
  }

  schedule(channel: JsChannel<State>): void {
    if (channel.scheduled || channel.waitingForRoom) return;
    channel.scheduled = true;
    this.#ready.push(channel);
    this.#goOnLater();
  }

  dropQueued(channel: JsChannel<State>): ServerRequest<State>[] {
    const dropped = this.requestChannel.withdraw(channel);
    this.#goOnLater();
    return dropped;
  }

  /** Gives its place to others, once. */
  release(channel: JsChannel<State>): void {
    const { admission, isExcess } = channel;
    if (admission === null) return;
    channel.admission = null;
    this.quotas.release(admission, isExcess);
    this.onRoom();
  }

  /** Kafka's closeExcessConnections, but for that all of them are closed, and in order. */
  closeExcessConnections(): void {
    if (!this.quotas.hasExcess) return;
    const candidates = [...this.channels]
      .filter(({ isExcess, admission }) => !isExcess && this.quotas.mayEvict(admission))
      .map((channel) => ({ channel, priority: channel.priority, at: channel.lastMoment }))
      .sort((one, other) => one.priority - other.priority || one.at - other.at);
    const count = this.quotas.takeExcess(candidates.length);
    for (const { channel } of candidates.slice(0, count)) {
      this.counters.connectionsEvictedTotal++;
      channel.evict();
    }
  }

  holdEnded(channel: JsChannel<State>): void {
    // What it begins may do anything: not in the midst of what has ended the hold.
    queueMicrotask(() => {
      channel.holdEnded(1);
      if (!channel.isHeldBack) this.#events.holdEnded(channel);
    });
  }

  lost(channel: JsChannel<State>): void {
    this.#events.connectionReset(channel);
  }

  closed(channel: JsChannel<State>, reason: CloseReason): void {
    this.channels.delete(channel);
    if (this.channels.size === 0) this.expiry.stop();
    this.release(channel);
    this.requestChannel.stopWaiting(channel);
    this.counters.connectionsClosedTotal++;
    const drained = this.drained.get(channel.listenerConfig);
    if (drained !== undefined) this.drained.set(channel.listenerConfig, drained + channel.answered);
    this.#events.connectionClosed(channel, reason);
    this.#goOnLater();
  }

  #goOnLater(): void {
    if (this.#isServing) return;
    if (this.#ready.length === 0 && !this.requestChannel.canGoOn) return;
    this.later.ask();
  }

  /** One turn of the event loop: rounds, until nothing is left or the turn's share is used up. */
  readonly #serve = (): void => {
    this.#isServing = true;
    this.#requestsLeft = maxRequestsPerTurn;
    this.#bytesLeft = maxBytesPerTurn;
    try {
      while (this.#hasShare && (this.#ready.length > 0 || this.requestChannel.canGoOn)) {
        this.counters.turns++;
        this.#takeQueued();
        this.#serveWaiting();
        this.#serveReady();
        this.#events.turnEnded();
      }
    } finally {
      this.#isServing = false;
      this.#goOnLater();
    }
  };

  /** Goes on in the event loop's next round. */
  readonly later = new LoopTurn(this.#serve);

  get #hasShare(): boolean {
    return this.#requestsLeft > 0 && this.#bytesLeft > 0;
  }

  #takeQueued(): void {
    while (this.#hasShare) {
      const request = this.requestChannel.take();
      if (request === undefined) return;
      this.#deliver(request);
    }
  }

  #serveWaiting(): void {
    while (this.#hasShare) {
      const channel = this.requestChannel.wakeNext();
      if (channel === undefined) return;
      this.#serveChannel(channel);
    }
  }

  /** Serves those that stood in line when the round began. */
  #serveReady(): void {
    for (let left = this.#ready.length; left > 0 && this.#hasShare; left--) {
      const channel = this.#ready.shift();
      if (channel === undefined) return;
      channel.scheduled = false;
      this.#serveChannel(channel);
    }
  }

  /** Makes requests of a connection's next frames, as far as there is room, and hands them over. */
  #serveChannel(channel: JsChannel<State>): void {
    if (!channel.hasFrame()) {
      // The frame that it stood in line for went with the connection's input.
      channel.flush();
    } else if (!this.requestChannel.hasRoom) {
      this.requestChannel.wait(channel);
    } else {
      do {
        this.requestChannel.put(channel.takeFrame());
      } while (!channel.isBatchFull && this.requestChannel.hasRoom && channel.hasFrame());
      this.#takeQueued();
      channel.served();
    }
  }

  #deliver(request: ServerRequest<State>): void {
    this.#requestsLeft--;
    this.#bytesLeft -= request.body.length;
    this.#events.requestReceived(request);
  }
}
