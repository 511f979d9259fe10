import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { CloseCode } from '../../close-reason.js';
import type { ReplyFramer } from '../../reply-framer.js';
import type { ServerRequest } from '../../request.js';
import type { TransportTimes } from '../../request-times.js';
import type { Counters } from './counters.js';
import { Outbox, type ReplySlab } from './outbox.js';

/** Replies that share a write, and with it their fate. */
class Batch<State> {
  /** Requests that are answered once everything of the batch is with the kernel. */
  count = 0;
  bytes = 0;
  /** Those of them whose `sent` somebody holds. */
  asked: ServerRequest<State>[] | null = null;
  /** When each of the requests was received, and its reply given. */
  readonly times: number[] = [];
  takenAt = 0;
}

/** When a reply was given is said later. */
const notYet = -1;

/**
 * One connection's replies on their way to the kernel. At most one write is under way; what is
 * given meanwhile leaves together in the next one.
 */
export class ReplyWriter<State> {
  /** Requests whose reply is with the kernel, or that wanted none. */
  answered = 0;
  /** Bytes that were given to the socket. */
  begunBytes = 0;
  readonly #socket: Socket;
  readonly #outbox: Outbox;
  readonly #counters: Counters;
  readonly #times: TransportTimes;
  readonly #onWritten: () => void;
  #given = new Batch<State>();
  #writing: Batch<State> | null = null;

  /** @param onWritten called when a write ends later than in the {@link flush} that began it */
  constructor(
    socket: Socket,
    slab: ReplySlab,
    counters: Counters,
    times: TransportTimes,
    onWritten: () => void,
  ) {
    this.#socket = socket;
    this.#outbox = new Outbox(slab);
    this.#counters = counters;
    this.#times = times;
    this.#onWritten = onWritten;
  }

  /** Everything that was given is with the kernel. */
  get isIdle(): boolean {
    return this.#writing === null && this.#given.count === 0 && this.#outbox.isEmpty;
  }

  /** Requests whose answers were given and are not all with the kernel. */
  get unwritten(): number {
    return this.#given.count + (this.#writing?.count ?? 0);
  }

  /**
   * Bytes that the kernel has taken: grows while the client takes bytes. Node tells of a write's end
   * alone, and looks here itself for `socket.setTimeout()`.
   */
  get takenBytes(): number {
    const { _handle: handle } = this.#socket as { _handle?: { writeQueueSize?: number } | null };
    return this.begunBytes - (handle?.writeQueueSize ?? 0);
  }

  /** Bytes that were given and are not with the kernel. */
  get unsent(): number {
    return this.#outbox.length + (this.#writing === null ? 0 : this.#socket.writableLength);
  }

  /** Gives bytes that answer no request. Throws where memory is refused. */
  push(framer: ReplyFramer, bytes: Uint8Array | readonly Uint8Array[]): void {
    this.#outbox.add(framer, bytes);
  }

  /** Gives a request's reply; `null` is none by choice. Throws where memory is refused. */
  give(request: ServerRequest<State>, bytes: Uint8Array | readonly Uint8Array[] | null): void {
    if (bytes !== null) this.#outbox.add(request.framer, bytes);
    const given = this.#given;
    given.count++;
    given.times.push(request.receivedAt, request.readyAt ?? notYet);
    if (!request.sentAsked) return;
    given.asked ??= [];
    given.asked.push(request);
  }

  /** What has no time yet was given now. */
  givenAt(now: number): void {
    const { times } = this.#given;
    for (let i = times.length - 1; i > 0 && times[i] === notYet; i -= 2) times[i] = now;
  }

  /** Writes what was given, unless a write is under way. */
  flush(): void {
    if (this.#writing !== null || this.isIdle) return;
    const now = this.#given.count > 0 ? performance.now() : 0;
    this.givenAt(now);
    this.#writing = this.#given;
    this.#given = new Batch();
    this.#takeUp(this.#writing, now);
    const parts = this.#outbox.take();
    if (parts.length > 0) this.#write(parts, this.#writing);
    if (parts.length === 0 || this.#isWritten()) this.#settle(this.#writing);
  }

  /** The socket is dead: nothing more will be sent. */
  refuse(reason: CloseCode): void {
    for (const batch of [this.#writing, this.#given]) {
      for (const request of batch?.asked ?? []) request.settleSent({ ok: false, reason });
    }
    this.#writing = null;
    this.#given = new Batch();
    this.#outbox.take();
  }

  #takeUp(batch: Batch<State>, now: number): void {
    batch.takenAt = now;
    for (let i = 1; i < batch.times.length; i += 2) {
      this.#times.responseQueue.record(now - (batch.times[i] as number), 1);
    }
  }

  #write(parts: readonly Buffer[], batch: Batch<State>): void {
    const socket = this.#socket;
    for (const part of parts) batch.bytes += part.length;
    this.begunBytes += batch.bytes;
    this.#counters.writeCalls++;
    if (parts.length > 1) socket.cork();
    const last = parts.length - 1;
    for (let i = 0; i < last; i++) socket.write(parts[i] as Buffer);
    socket.write(parts[last] as Buffer, this.#wrote);
    if (parts.length > 1) socket.uncork();
  }

  /**
   * Node calls back a tick later even where the kernel took everything at once, so `flush` looks
   * itself, and a call back may belong to a write that was settled before.
   */
  readonly #wrote = (): void => {
    if (this.#writing === null || !this.#isWritten()) return;
    this.#settle(this.#writing);
    this.#onWritten();
  };

  #isWritten(): boolean {
    const { writableLength, destroyed, errored } = this.#socket;
    return writableLength === 0 && !destroyed && errored === null;
  }

  #settle(batch: Batch<State>): void {
    this.#writing = null;
    this.answered += batch.count;
    this.#counters.responsesTotal += batch.count;
    this.#counters.bytesWrittenTotal += batch.bytes;
    if (batch.count > 0) this.#noteSent(batch, performance.now());
    for (const request of batch.asked ?? []) request.settleSent({ ok: true });
  }

  #noteSent({ count, takenAt, times }: Batch<State>, now: number): void {
    this.#times.responseSend.record(now - takenAt, count);
    for (let i = 0; i < times.length; i += 2) {
      this.#times.total.record(now - (times[i] as number), 1);
    }
  }
}
