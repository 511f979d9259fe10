import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { type CloseCode, type CloseReason, makeCloseReason } from '../../close-reason.js';
import { type Endpoints, ServerConnection } from '../../connection.js';
import type { Awaited, Expirable, Expiry } from '../../expiry.js';
import { FrameDecoder } from '../../frame-decoder.js';
import type { Framing } from '../../framing.js';
import type { Listener } from '../../options.js';
import { ServerRequest } from '../../request.js';
import type { TransportTimes } from '../../request-times.js';
import type { Transport } from '../../transport.js';
import { lingerBytes, lingerMs, maxFramesPerBatch } from './bounds.js';
import type { Admission } from './connection-quotas.js';
import type { Counters } from './counters.js';
import type { MemoryPool, MemoryUser } from './memory-pool.js';
import type { ReplySlab } from './outbox.js';
import { ReplyWriter } from './reply-writer.js';
import type { Debtor, UnsentBytes } from './unsent-bytes.js';

/**
 * - `opening`: `onConnect` has not decided, nothing is read
 * - `open`: frames come and replies go
 * - `lingering`: everything was written and the write side is shut; input is dropped
 * - `gone`: the socket is dead; what was received is still handled, replies go nowhere
 * - `closed`: reported, and forgotten by the processor
 */
type Phase = 'opening' | 'open' | 'lingering' | 'gone' | 'closed';

const nextPhases: Record<Phase, readonly Phase[]> = {
  opening: ['open', 'lingering', 'gone', 'closed'],
  open: ['lingering', 'gone', 'closed'],
  lingering: ['gone', 'closed'],
  gone: ['closed'],
  closed: [],
};

/** Why a connection will end, or has. */
export interface Ending {
  readonly code: CloseCode;
  readonly detail?: string;
  readonly errno?: string;
}

/** What a channel needs of the processor that serves it. */
export interface ChannelHost<State> {
  readonly slab: ReplySlab;
  readonly counters: Counters;
  readonly times: TransportTimes;
  readonly memory: MemoryPool;
  readonly unsent: UnsentBytes;
  readonly expiry: Pick<Expiry<Expirable>, 'now' | 'paid'>;
  /** Counts the moments at which something began to be waited for. */
  moments: number;
  /** The channel has a frame: serve it in the next round. */
  schedule(channel: JsChannel<State>): void;
  /** Drops the channel's requests that no handler has seen, and returns them. */
  dropQueued(channel: JsChannel<State>): ServerRequest<State>[];
  /** Calls the channel's {@link JsChannel.flush} with the next flush. */
  markDirty(channel: JsChannel<State>): void;
  /** What was received before may be started. */
  holdEnded(channel: JsChannel<State>): void;
  lost(channel: JsChannel<State>): void;
  /** Its descriptor is free. */
  release(channel: JsChannel<State>): void;
  closed(channel: JsChannel<State>, reason: CloseReason): void;
}

/**
 * One socket of `node:net`: Kafka's KafkaChannel. It is muted while as many requests as may be in
 * flight (by default one) are not settled or their replies not with the kernel: no further frames
 * are cut, and what comes meanwhile stays in the decoder (one read) and in the paused socket
 * (another).
 */
export class JsChannel<State = unknown>
  extends ServerConnection<State>
  implements Expirable, MemoryUser, Debtor
{
  /** It stands in the processor's list for the next round. */
  scheduled = false;
  /** It stands in the request channel's line. */
  waitingForRoom = false;
  /** The processor will call {@link flush}. */
  dirty = false;
  since: number;
  /** Which moment `since` was: a finer order than that of the clock. */
  lastMoment: number;
  /** By what it is counted; given back when its socket is closed. */
  admission: Admission | null;
  /** Closed since there are too many connections. */
  isExcess = false;
  readonly #host: ChannelHost<State>;
  readonly #socket: Socket;
  readonly #decoder: FrameDecoder;
  readonly #writer: ReplyWriter<State>;
  readonly #maxInFlight: number;
  readonly #mostUnsent: number;
  #phase: Phase = 'opening';
  /** Why the connection will end as soon as what it owes is done. */
  #ending: Ending | null = null;
  /** No further frame is cut. */
  #inputOver = false;
  /** Only what was given before still leaves. */
  #cut = false;
  #peerEnded = false;
  #socketClosed = false;
  #paused = true;
  #readAt = 0;
  #sequence = 0;
  /** Frames that were made requests. */
  #received = 0;
  /** Requests that are queued or with the handler pool. */
  #unsettled = 0;
  #droppedBytes = 0;
  /** Bytes of the memory pool that it has: in the decoder, and of frames that are not settled. */
  #memory = 0;
  #lingerTimer: NodeJS.Timeout | undefined;
  #throttle: { readonly until: number; readonly timer: NodeJS.Timeout } | null = null;
  /** What the kernel had taken when somebody last looked. */
  #taken = 0;
  /** Since when it is not read for want of memory; and for how long it was not before, since `since`. */
  #unreadSince: number | null = null;
  #unreadMs = 0;
  /** As much of what it was given as counts among all that is unsent. */
  #owed = 0;
  /** So much is unsent that no further request is begun. */
  #isFull = false;

  constructor(
    transport: Transport<State>,
    host: ChannelHost<State>,
    socket: Socket,
    listener: Listener<State>,
    endpoints: Endpoints,
    admission: Admission,
    index: number,
    isolateBodies: boolean,
    maxInFlight: number,
    mostUnsent: number,
  ) {
    super(transport, listener, endpoints, 0, index);
    this.#host = host;
    this.admission = admission;
    this.since = host.expiry.now;
    this.lastMoment = ++host.moments;
    this.#maxInFlight = maxInFlight;
    this.#mostUnsent = mostUnsent;
    this.#socket = socket;
    this.#decoder = new FrameDecoder(listener.framing, isolateBodies);
    this.#writer = new ReplyWriter(socket, host.slab, host.counters, host.times, () => {
      this.#noteTaken();
      this.flush();
      this.#startClock();
    });
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => this.#readEnd());
    socket.on('error', (error: NodeJS.ErrnoException) => this.#failed(error));
    socket.on('close', () => this.#socketEnded());
  }

  /** Sends the greeting, if there is one, and begins to read. */
  open(greeting: Uint8Array | null): void {
    if (this.#phase !== 'opening') return;
    this.#become('open');
    this.#startClock();
    if (greeting !== null) {
      this.#give(() => this.#writer.push(this.framer, greeting));
      this.#host.markDirty(this);
    }
    this.#resume();
  }

  /** Whether a frame is there to be made a request. */
  hasFrame(): boolean {
    return !this.#inputOver && this.#throttle === null && this.#decoder.find();
  }

  /** Whether as many frames were made requests as may be on their way at once. */
  get isBatchFull(): boolean {
    return this.#unsettled >= Math.max(maxFramesPerBatch, this.#maxInFlight);
  }

  /** Its frames were handed over: unless that has muted it, on to what follows. */
  served(): void {
    this.#startClock();
    if (this.#maxInFlight > 1) this.#goOn();
  }

  /** Makes the next frame a request. Only after {@link hasFrame} has said so. */
  takeFrame(): ServerRequest<State> {
    const { body, memory, offset, length } = this.#decoder.take();
    const request = new ServerRequest<State>(
      this,
      body,
      this.#sequence,
      this.#readAt,
      memory,
      offset,
      length,
    );
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#received++;
    this.#unsettled++;
    this.#host.counters.requestsTotal++;
    return request;
  }

  /** Takes requests back, oldest first, to have their bytes cut by another framing. */
  reframe(framing: Framing, requests: readonly ServerRequest<State>[]): void {
    this.#startClock();
    this.#received -= requests.length;
    this.#unsettled -= requests.length;
    this.#host.counters.requestsTotal -= requests.length;
    this.#decoder.restart(
      framing,
      requests.map((request) => request.frame),
    );
    if (this.#maxInFlight > 1) this.#goOn();
  }

  /** Answers a request: by bytes, by nothing (`null`), or by nothing but the end (`closeCode`). */
  settle(
    request: ServerRequest<State>,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    closeCode: CloseCode | null,
  ): void {
    this.#unsettled--;
    this.#giveMemory(request.frameBytes);
    this.#startClock();
    if (this.#phase !== 'open' || this.#cut) {
      request.settleSent({ ok: false, reason: this.#ending?.code ?? 'IO_ERROR' });
    } else if (bytes === null && closeCode !== null) {
      request.settleSent({ ok: false, reason: closeCode });
    } else if (!this.#give(() => this.#writer.give(request, bytes))) {
      request.settleSent({ ok: false, reason: 'OUT_OF_MEMORY' });
    }
    if (closeCode !== null) this.#cutWith({ code: closeCode });
    if (!this.#isFull && this.#writer.unsent >= this.#mostUnsent) {
      this.#isFull = true;
      this.holdBegan();
    }
    this.#host.markDirty(this);
  }

  /** A request will not be answered, since the connection is ending. */
  discard(request: ServerRequest<State>): void {
    this.#unsettled--;
    this.#giveMemory(request.frameBytes);
    this.#startClock();
    this.#host.markDirty(this);
  }

  /** Memory for a reply may be refused: that ends this connection, and nothing else. */
  #give(give: () => void): boolean {
    try {
      give();
      return true;
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      this.#cutWith({ code: 'OUT_OF_MEMORY', detail });
      return false;
    }
  }

  /** Writes what was given. False while the kernel has not taken all of it. */
  flush(): boolean {
    if (this.#phase === 'open' || this.#phase === 'opening') this.#writer.flush();
    this.#noteUnsent();
    this.#goOn();
    return this.#writer.isIdle;
  }

  get unsent(): number {
    return this.#writer.unsent;
  }

  /** Some of it has left, or was refused; or more was given. */
  #noteUnsent(): void {
    const { unsent } = this.#writer;
    this.#host.unsent.total += unsent - this.#owed;
    this.#owed = unsent;
    if (this.isGauged) this.left(unsent);
    if (!this.#isFull || unsent > this.#mostUnsent / 2) return;
    this.#isFull = false;
    this.#host.holdEnded(this);
  }

  /** Ends the connection as soon as what was given before has left. */
  closeInOrder(ending: Ending): void {
    this.#cutWith(ending);
    this.flush();
  }

  /** Its replies so far were given by now. */
  givenAt(now: number): void {
    this.#writer.givenAt(now);
  }

  /** How many of its requests were answered. */
  get answered(): number {
    return this.#writer.answered;
  }

  /** Gives bytes that answer no request; how many it has that are not with the kernel. */
  push(bytes: Uint8Array | readonly Uint8Array[]): number {
    if (this.#cut || (this.#phase !== 'open' && this.#phase !== 'opening')) return 0;
    this.#startClock();
    this.#give(() => this.#writer.push(this.framer, bytes));
    this.#host.markDirty(this);
    return this.#writer.unsent;
  }

  /** Kafka's StartThrottling: reads nothing for so many milliseconds. */
  muteFor(ms: number): void {
    this.#host.counters.requestsThrottledTotal++;
    this.#host.times.throttle.record(ms, 1);
    if (this.#phase !== 'open' || this.#ending !== null) return;
    const until = performance.now() + ms;
    if (this.#throttle === null) {
      this.#host.counters.connectionsThrottled++;
      this.holdBegan();
    } else if (this.#throttle.until >= until) {
      return;
    }
    clearTimeout(this.#throttle?.timer);
    const timer = setTimeout(() => {
      this.#endThrottle();
      this.flush();
    }, ms).unref();
    this.#throttle = { until, timer };
  }

  /** Kafka's EndThrottling; at the latest when the connection begins to end. */
  #endThrottle(): void {
    if (this.#throttle === null) return;
    clearTimeout(this.#throttle.timer);
    this.#throttle = null;
    this.#host.counters.connectionsThrottled--;
    this.#startClock();
    this.#host.holdEnded(this);
  }

  /** Reads nothing more, and ends the connection as soon as everything received is answered. */
  drain(code: CloseCode): void {
    this.#inputOver = true;
    this.#endThrottle();
    if (this.#phase === 'opening' || this.#phase === 'open') {
      this.#ending ??= { code };
    }
    this.flush();
  }

  /** Ends the connection at this moment, with `code` unless another reason has begun to end it. */
  destroy(code: CloseCode): void {
    if (this.#phase === 'closed') return;
    const isEnding = this.#cut || this.#phase === 'lingering' || this.#phase === 'gone';
    if (this.#ending === null || !isEnding) this.#ending = { code };
    this.#writer.refuse(this.#ending.code);
    this.#noteUnsent();
    this.#socket.destroy();
    this.#report();
  }

  /** As {@link destroy}, while others go on: what no handler has seen of it is dropped. */
  cut(code: CloseCode): void {
    if (this.#phase === 'closed') return;
    this.#dropQueued();
    this.destroy(code);
  }

  closeIfIdle(): void {
    if (this.awaited() === 'request') this.closeInOrder({ code: 'CLOSED_BY_SERVICE' });
  }

  /** Kafka's order of those to be closed where there are too many: closing, idle, at work. */
  get priority(): number {
    if (this.#ending !== null || this.#phase === 'lingering' || this.#phase === 'gone') return 0;
    return this.awaited() === 'request' ? 1 : 2;
  }

  /** Makes room for others, in order. */
  evict(): void {
    this.isExcess = true;
    this.closeInOrder({ code: 'TOO_MANY_CONNECTIONS' });
  }

  awaited(): Awaited | null {
    if (this.#phase !== 'open' && this.#phase !== 'opening') return null;
    if (!this.#writer.isIdle) {
      this.#noteTaken();
      return 'roomToWrite';
    }
    if (this.#phase === 'opening') return null;
    // What a paused socket has to read nobody knows: a part of a frame has no more time for that.
    const isUnread = this.waitingForMemory && this.#decoder.isEmpty;
    const isOurs =
      this.#unsettled > 0 || this.#inputOver || this.#peerEnded || this.#isBusy || isUnread;
    if (isOurs || this.#ending !== null || this.#decoder.failure !== null) return null;
    return this.#decoder.isEmpty ? 'request' : 'restOfFrame';
  }

  get heldBytes(): number {
    return this.#decoder.bytes;
  }

  get unreadMs(): number {
    if (this.#unreadSince === null) return this.#unreadMs;
    return this.#unreadMs + this.#host.expiry.now - this.#unreadSince;
  }

  get waitingForMemory(): boolean {
    return this.#unreadSince !== null;
  }

  set waitingForMemory(waits: boolean) {
    if (waits === this.waitingForMemory) return;
    this.#unreadMs = this.unreadMs;
    this.#unreadSince = waits ? this.#host.expiry.now : null;
  }

  #startClock(): void {
    this.lastMoment = ++this.#host.moments;
    // While something waits to be sent, that has the clock.
    if (!this.#writer.isIdle) return;
    this.#taken = this.#writer.begunBytes;
    this.since = this.#host.expiry.now;
    this.#unreadMs = 0;
    if (this.#unreadSince !== null) this.#unreadSince = this.since;
  }

  /** Not all that was given, or it was more than the client could take at once. */
  #noteTaken(): void {
    const taken = this.#writer.takenBytes;
    if (taken === this.#taken) return;
    this.since = this.#host.expiry.paid(this.since, taken - this.#taken);
    this.lastMoment = ++this.#host.moments;
    this.#taken = taken;
  }

  expire(code: CloseCode): void {
    if (this.#writer.isIdle) this.closeInOrder({ code });
    else this.#breakOff(code);
  }

  shed(): void {
    this.#breakOff('TOO_MANY_UNSENT_BYTES');
  }

  /** Nothing of what is given leaves any more. */
  #breakOff(code: CloseCode): void {
    this.#lose(this.#ending ?? { code });
    this.#socket.destroy();
  }

  /** Lets the process end although the connection is open, or not. */
  hold(isHeld: boolean): void {
    if (isHeld) this.#socket.ref();
    else this.#socket.unref();
  }

  #cutWith(ending: Ending): void {
    this.#inputOver = true;
    this.#endThrottle();
    if (this.#cut || (this.#phase !== 'open' && this.#phase !== 'opening')) return;
    this.#cut = true;
    this.#ending = ending;
    this.#dropQueued();
  }

  #dropQueued(): void {
    for (const request of this.#host.dropQueued(this)) {
      this.#unsettled--;
      this.#giveMemory(request.frameBytes);
    }
  }

  /** Takes the next step, if what is owed allows one. */
  #goOn(): void {
    switch (this.#phase) {
      case 'opening':
        if (this.#ending !== null && this.#writer.isIdle) this.#shutDown();
        return;
      case 'open':
        if (this.#writer.isIdle && (this.#unsettled === 0 || this.#cut)) {
          if (this.#ending === null && this.#throttle === null) this.#readOn();
          if (this.#ending !== null) this.#shutDown();
        } else if (!this.#isMuted && this.#ending === null) {
          this.#readAhead();
        }
        return;
      case 'gone':
        if (this.#unsettled < this.#maxInFlight && this.hasFrame()) this.#host.schedule(this);
        else if (this.#unsettled === 0 && this.#socketClosed) this.#report();
        return;
      case 'lingering':
      case 'closed':
        return;
    }
  }

  /** Throttled; or as many requests as may be are in flight, or their replies on the way to the kernel. */
  get #isMuted(): boolean {
    if (this.#throttle !== null) return true;
    return this.#unsettled + this.#writer.unwritten >= this.#maxInFlight;
  }

  /** On to the next frame while requests are in flight. An end or a broken frame waits for them. */
  #readAhead(): void {
    if (this.#decoder.find()) this.#host.schedule(this);
    else if (this.#decoder.failure !== null) this.#pause();
    else if (!this.#peerEnded) this.#resume();
  }

  /** Nothing is in flight: on to the next frame, or to what stands in its place. */
  #readOn(): void {
    const decoder = this.#decoder;
    if (decoder.find()) {
      this.#host.schedule(this);
    } else if (decoder.failure !== null) {
      this.#ending = { code: decoder.failure.code, detail: decoder.failure.message };
    } else if (this.#peerEnded) {
      this.#ending = { code: decoder.isEmpty ? 'PEER_CLOSED' : 'TRUNCATED_FRAME' };
    } else {
      this.#resume();
    }
  }

  /**
   * Shuts the write side, and reads what still comes without looking at it: to close a socket with
   * unread input resets the connection, and the reset can overtake the last reply. Where both
   * sides have ended, Node closes the socket by itself.
   */
  #shutDown(): void {
    this.#become('lingering');
    this.#inputOver = true;
    this.#dropInput();
    this.#socket.end();
    if (this.#peerEnded) return;
    this.#lingerTimer = setTimeout(() => this.#socket.destroy(), lingerMs);
    this.#lingerTimer.unref();
    this.#resume();
  }

  #report(): void {
    this.#become('closed');
    this.#endThrottle();
    clearTimeout(this.#lingerTimer);
    this.#inputOver = true;
    this.#dropInput();
    this.#giveMemory(this.#memory);
    const { code, ...details } = this.#ending ?? { code: 'IO_ERROR' as const };
    const unanswered = this.#received - this.#writer.answered;
    this.#host.closed(this, makeCloseReason(code, { ...details, unanswered }));
  }

  #become(phase: Phase): void {
    if (!nextPhases[this.#phase].includes(phase)) {
      throw new Error(`a connection can't go from ${this.#phase} to ${phase}`);
    }
    this.#phase = phase;
    if (phase !== 'open') this.#host.memory.stopWaiting(this);
  }

  #read(chunk: Buffer): void {
    const counters = this.#host.counters;
    counters.readCalls++;
    counters.bytesReadTotal += chunk.length;
    if (this.#phase === 'lingering') {
      this.#droppedBytes += chunk.length;
      if (this.#droppedBytes > lingerBytes) this.#socket.destroy();
      return;
    }
    this.#readAt = performance.now();
    if (this.#decoder.isEmpty) this.#startClock();
    if (!this.#inputOver) this.#takeIn(chunk);
    if (this.#inputOver || this.#isBusy) this.#pause();
    else this.#goOn();
    this.#host.memory.settle(this);
  }

  #takeIn(chunk: Buffer): void {
    this.#decoder.push(chunk);
    this.#memory += chunk.length;
    this.#host.memory.take(chunk.length);
  }

  #giveMemory(bytes: number): void {
    this.#memory -= bytes;
    this.#host.memory.give(bytes);
  }

  #dropInput(): void {
    this.#giveMemory(this.#decoder.bytes);
    this.#decoder.clear();
  }

  get isPartial(): boolean {
    if (this.#phase !== 'open' || this.#inputOver || this.#isBusy) return false;
    const decoder = this.#decoder;
    return !decoder.isEmpty && !decoder.find() && decoder.failure === null;
  }

  get mostFrameBytes(): number {
    return this.framing.maxFrameBytes;
  }

  checkMemory(): void {
    if (this.#paused || this.#phase !== 'open' || this.#host.memory.admits(this)) return;
    this.#pause();
    // One that is muted asks again when it isn't any more.
    if (!this.#isBusy) this.#host.memory.wait(this);
  }

  memoryFreed(): void {
    if (this.#decoder.isEmpty) this.#startClock();
    this.#goOn();
  }

  #readEnd(): void {
    this.#peerEnded = true;
    this.#goOn();
  }

  /** Muted, or with a frame that waits for its turn or for room. */
  get #isBusy(): boolean {
    return this.#isMuted || this.scheduled || this.waitingForRoom;
  }

  /** The client is gone, or reading or writing failed in another way. Node closes the socket. */
  #failed(error: NodeJS.ErrnoException): void {
    if (this.#phase !== 'open' && this.#phase !== 'opening') return;
    const isReset = error.code === 'ECONNRESET' || error.code === 'EPIPE';
    const errno = error.code === undefined ? {} : { errno: error.code };
    this.#lose({ code: isReset ? 'PEER_RESET' : 'IO_ERROR', ...errno });
  }

  #socketEnded(): void {
    this.#socketClosed = true;
    this.#host.release(this);
    if (this.#phase === 'closed') return;
    if (this.#phase === 'lingering') this.#become('gone');
    else if (this.#phase !== 'gone') this.#lose({ code: 'IO_ERROR' });
    this.#goOn();
  }

  /** What was owed is owed no more; what was received is still handled. */
  #lose(ending: Ending): void {
    this.#become('gone');
    this.#endThrottle();
    this.#ending = ending;
    this.#writer.refuse(ending.code);
    this.#noteUnsent();
    this.#host.lost(this);
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#socket.pause();
  }

  #resume(): void {
    if (!this.#paused) return;
    if (this.#phase === 'open' && !this.#host.memory.admits(this)) {
      this.#host.memory.wait(this);
      return;
    }
    this.#paused = false;
    this.#socket.resume();
  }
}
