import type { CloseCode } from './close-reason.js';
import type { Connection, ServerConnection } from './connection.js';
import { Deferred } from './deferred.js';
import type { ReplyFramer } from './reply-framer.js';
import { checkThrottle, throttledTooLate } from './throttle.js';

/** What became of a reply: handed to the kernel (`ok`), or not, and why. */
export interface SentOutcome {
  /** The kernel has all of it; `noReply` counts as sent when its turn has come. */
  readonly ok: boolean;
  /** Where not `ok`: the connection's close code, or `ASKED_TOO_LATE`. */
  readonly reason?: CloseCode | 'ASKED_TOO_LATE';
}

/** One received frame, as a handler sees it. */
export interface Request<State = unknown> {
  /**
   * The frame's bytes, after the framing stripped what it strips. They never change, however long
   * the handler keeps them; a kept body of n bytes pins at most n + 64 KiB of memory. Small bodies
   * share one ArrayBuffer, as Node's pooled Buffers do, so mind `byteOffset` (or set
   * `isolateBodies: true`). With `borrowBodies: true` a body from 16 KiB on may only be used until
   * the request is settled, and is empty afterwards.
   */
  readonly body: Buffer;
  /** Whose request it is. */
  readonly connection: Connection<State>;
  /** When the loop had read the frame's last byte, in milliseconds on `performance.now()`'s scale. */
  readonly receivedAt: number;
  /**
   * Aborts when the client resets the connection, when the service closes it, when the handler has
   * taken longer than `handlerTimeoutMs`, or when `close()` reaches its deadline. A client's FIN alone doesn't abort: it still gets its answer. Made only
   * when asked for.
   */
  readonly signal: AbortSignal;
  /**
   * What becomes of the reply. Never rejects. Made only when asked for, so ask before the handler
   * answers: later it resolves to `{ ok: false, reason: 'ASKED_TOO_LATE' }`.
   */
  readonly sent: Promise<SentOutcome>;
  /**
   * Throttles the client, as Kafka's quotas do: this request is answered at once, and from the call on
   * for `ms` milliseconds nothing more of its connection is read, nor given to a handler. Requests
   * that handlers have already go on. Of several throttles the latest end counts. Time-outs of the
   * client's stand still meanwhile; the end of the connection, or `server.close()`, ends a throttle.
   *
   * @param ms from 0 (nothing happens) to 2147483647; a fraction counts as a whole millisecond
   * @throws OdradekError `ERR_ODRADEK_INVALID_ARGUMENT` if `ms` is anything else,
   *   `ERR_ODRADEK_ALREADY_ANSWERED` behind the answer
   */
  throttle(ms: number): void;
}

/** The request as the server sees it; handlers know it as {@link Request}. */
export class ServerRequest<State = unknown> implements Request<State> {
  readonly connection: ServerConnection<State>;
  readonly body: Buffer;
  readonly receivedAt: number;
  /** The frame's place among its connection's frames, counted by the transport (uint32, wraps). */
  readonly sequence: number;
  /** How to frame the reply: by the framing that the request came with. */
  readonly framer: ReplyFramer;
  /** In a thread of a handler pool: its place in the table of what was started. */
  ticket = 0;
  /** In the js transport's queue: since when it waits there, in whole milliseconds; 0: it doesn't. */
  waitsSince = 0;
  /** The handler's value or error has come (a thenable may try twice). */
  returned = false;
  /** Why its connection ends, should it fail and get no reply. */
  failCode: CloseCode = 'HANDLER_ERROR';
  /** It has failed since the handler took too long, and may still take its time. */
  isLate = false;
  /** The reply was given to the transport, or the connection ended first. */
  answered = false;
  /** When an asynchronous handler had returned, where that is timed. */
  returnedAt: number | null = null;
  /** When the answer was there, where it was not given to the transport then. */
  readyAt: number | null = null;
  /** The ArrayBuffer that the frame lies in, and how long the frame is in it. */
  readonly memory: ArrayBufferLike;
  readonly frameBytes: number;
  readonly #frameOffset: number;
  #abort: AbortController | null = null;
  #abortReason: Error | undefined = undefined;
  #sent: Deferred<SentOutcome> | null = null;

  constructor(
    connection: ServerConnection<State>,
    body: Buffer,
    sequence: number,
    receivedAt: number,
    memory: ArrayBufferLike,
    frameOffset: number,
    frameBytes: number,
  ) {
    this.connection = connection;
    this.body = body;
    this.memory = memory;
    this.#frameOffset = frameOffset;
    this.frameBytes = frameBytes;
    this.sequence = sequence;
    this.receivedAt = receivedAt;
    this.framer = connection.framer;
  }

  /** The whole frame as it came, header and trailer included: `setFraming` may need it again. */
  get frame(): Buffer {
    return Buffer.from(this.memory as ArrayBuffer, this.#frameOffset, this.frameBytes);
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      const { abortReason } = this.connection;
      const isAborted = abortReason !== undefined || this.isLate;
      if (isAborted) this.#abort.abort(this.#abortReason ?? abortReason);
      else if (!this.answered) this.connection.watch(this);
    }
    return this.#abort.signal;
  }

  get sent(): Promise<SentOutcome> {
    if (this.#sent === null) {
      this.#sent = new Deferred();
      if (this.answered) this.#sent.resolve({ ok: false, reason: 'ASKED_TOO_LATE' });
      else this.connection.watch(this);
    }
    return this.#sent.promise;
  }

  throttle(ms: number): void {
    const wholeMs = checkThrottle(ms);
    if (this.answered) throw throttledTooLate();
    this.connection.throttle(wholeMs);
  }

  /** Whether the transport owes a word about the reply's fate: {@link settleSent}. */
  get sentAsked(): boolean {
    return this.#sent !== null;
  }

  settleSent(outcome: SentOutcome): void {
    this.#sent?.resolve(outcome);
  }

  abort(reason: Error): void {
    this.#abortReason ??= reason;
    this.#abort?.abort(reason);
  }
}
