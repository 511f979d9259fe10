import type { Connection } from '../connection.js';
import { Deferred } from '../deferred.js';
import { describe, OdradekError } from '../errors.js';
import { type Framing, isFraming } from '../framing.js';
import { checkPush, pushedTooLate } from '../push.js';
import type { Request, SentOutcome } from '../request.js';
import { SendGauge } from '../send-gauge.js';
import { checkThrottle, throttledTooLate } from '../throttle.js';
import { unpackError } from './error-crossing.js';
import type {
  ConnectionFacts,
  FromHandler,
  RequestMessage,
  ToHandler,
} from './message-protocol.js';
import { ownBytes } from './own-bytes.js';

type Say = (message: FromHandler, transferList?: readonly ArrayBuffer[]) => void;

/** A connection as a handler thread sees it; the server's thread has the real one. */
export class WorkerConnection implements Connection {
  readonly id: string;
  readonly listener: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** This thread's own. */
  state: unknown = undefined;
  /** Its requests that this thread has begun and not answered, oldest first. */
  readonly open = new Set<WorkerRequest>();
  /** The request whose handler runs at this moment, in its synchronous part. */
  beginning: WorkerRequest | null = null;
  /** Set as soon as a handler of this thread has closed it. */
  closedFor: Error | null = null;
  readonly #number: number;
  readonly #gauge: SendGauge;
  readonly #say: Say;
  #unsent = 0;
  #hasEnded = false;

  constructor(number: number, facts: ConnectionFacts, mark: number, say: Say) {
    this.#gauge = new SendGauge(mark);
    this.id = facts.id;
    this.listener = facts.listener;
    this.remoteAddress = facts.remoteAddress;
    this.remotePort = facts.remotePort;
    this.#number = number;
    this.#say = say;
  }

  close(detail?: string): void {
    if (this.closedFor !== null) return;
    this.closedFor = new Error('the connection was closed: CLOSED_BY_SERVICE');
    this.#say({ kind: 'close', connection: this.#number, detail });
    for (const request of this.open) request.abort(this.closedFor);
  }

  /** What this thread has pushed counts here; whether it can be framed is seen on the server's thread. */
  send(bytes: Uint8Array | readonly Uint8Array[]): boolean {
    checkPush(bytes);
    if (this.closedFor !== null || this.#hasEnded) throw pushedTooLate();
    const own = ownBytes(bytes instanceof Uint8Array ? [bytes] : bytes);
    const { byteLength } = own.bytes;
    this.#say({ kind: 'push', connection: this.#number, bytes: own.bytes }, own.transferList);
    this.#unsent += byteLength;
    return this.#gauge.given(this.#unsent);
  }

  drained(): Promise<void> {
    return this.#gauge.drained();
  }

  left(bytes: number): void {
    this.#unsent -= bytes;
    this.#gauge.left(this.#unsent);
  }

  end(): void {
    this.#hasEnded = true;
    this.#gauge.open();
  }

  setFraming(framing: Framing): void {
    if (!isFraming(framing) || framing.kind === 'custom') {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_ARGUMENT',
        `framing must come from lengthPrefixed(), varintPrefixed(), delimited() or raw(); ` +
          `custom() is a function, which can't leave this thread; got ${describe(framing)}`,
      );
    }
    const [oldest] = this.open;
    if (this.closedFor !== null || oldest === undefined) {
      throw new OdradekError(
        'ERR_ODRADEK_SET_FRAMING',
        'call it while a request of this connection is in its handler',
      );
    }
    // Whether others of the connection are in flight is known on the server's thread.
    this.#say({ kind: 'setFraming', id: (this.beginning ?? oldest).id, framing });
  }
}

/** A request as a handler thread sees it. */
export class WorkerRequest implements Request {
  readonly id: number;
  readonly body: Buffer;
  readonly connection: WorkerConnection;
  readonly receivedAt: number;
  /** The handler's value or error has come (a thenable may try twice). */
  returned = false;
  readonly #say: Say;
  #abort: AbortController | null = null;
  #sent: Deferred<SentOutcome> | null = null;

  constructor(message: RequestMessage, connection: WorkerConnection, say: Say) {
    const { body } = message;
    this.id = message.id;
    this.body = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    this.connection = connection;
    this.receivedAt = message.receivedAt;
    this.#say = say;
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      const { closedFor } = this.connection;
      if (closedFor !== null) this.#abort.abort(closedFor);
      else if (!this.returned) this.#say({ kind: 'watchSignal', id: this.id });
    }
    return this.#abort.signal;
  }

  get sent(): Promise<SentOutcome> {
    if (this.#sent === null) {
      this.#sent = new Deferred();
      if (this.returned) this.#sent.resolve({ ok: false, reason: 'ASKED_TOO_LATE' });
      else this.#say({ kind: 'watchSent', id: this.id });
    }
    return this.#sent.promise;
  }

  throttle(ms: number): void {
    const wholeMs = checkThrottle(ms);
    if (this.returned) throw throttledTooLate();
    this.#say({ kind: 'throttle', id: this.id, ms: wholeMs });
  }

  /** Whether the server's thread will have a word to say after the answer. */
  get sentAsked(): boolean {
    return this.#sent !== null;
  }

  hear(message: ToHandler & { kind: 'abort' | 'sent' }): void {
    if (message.kind === 'sent') this.#sent?.resolve(message.outcome);
    else this.abort(unpackError(message.reason));
  }

  abort(reason: unknown): void {
    this.#abort?.abort(reason);
  }
}
