import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { ServerConnection } from '../connection.js';
import { OdradekError } from '../errors.js';
import type { Framing } from '../framing.js';
import { noReply } from '../reply.js';
import { packError, unpackError } from './error-crossing.js';
import {
  type ConnectionFacts,
  type FromHandler,
  linkStatus,
  type MessageAttachment,
  type ToHandler,
} from './message-protocol.js';
import { ownBytes } from './own-bytes.js';
import { receiveAll } from './receive-all.js';
import { unpackReply } from './reply-crossing.js';
import { type Detached, type HandlerLink, lossCode } from './thread-protocol.js';
import type { WorkerCall } from './worker-call.js';

export interface MessageLinkEvents<State> {
  /** The thread may begin another request. */
  hasRoom(): void;
  /** It takes nothing more. */
  retiring(): void;
  /** The thread is gone, and had not begun these, oldest first. */
  lost(calls: readonly WorkerCall<State>[]): void;
  /** A handler made a mistake after its answer. */
  mistake(error: unknown): void;
}

/**
 * Requests to one handler thread and answers from it, as messages. The thread is given a request
 * only when it can begin it: after it has said what became of the one before.
 */
export class MessageLink<State> implements HandlerLink {
  readonly attachment: MessageAttachment;
  readonly transferList: readonly [MessagePort];
  startedTotal = 0;
  readonly #port: MessagePort;
  readonly #status = new Int32Array(new SharedArrayBuffer(4 * Object.keys(linkStatus).length));
  readonly #concurrency: number;
  readonly #events: MessageLinkEvents<State>;
  /** What the thread has, by number. */
  readonly #calls = new Map<number, WorkerCall<State>>();
  /** The connections that the thread knows, and their numbers. */
  readonly #numbers = new Map<ServerConnection<State>, number>();
  readonly #connections = new Map<number, ServerConnection<State>>();
  #lastId = 0;
  #lastNumber = 0;
  /** The last call was given, and it is not known whether the handler has returned. */
  #isBeginning = false;
  #takesMore = true;
  #isDetached = false;
  /** Set while it retires: called when the thread has nothing any more. */
  #retired: (() => void) | null = null;

  constructor(
    concurrency: number,
    sendHighWaterMarkBytes: number,
    events: MessageLinkEvents<State>,
  ) {
    const { port1, port2 } = new MessageChannel();
    this.attachment = { kind: 'js', port: port2, status: this.#status, sendHighWaterMarkBytes };
    this.transferList = [port2];
    this.#port = port1;
    this.#concurrency = concurrency;
    this.#events = events;
    port1.on('message', (message: FromHandler) => this.#receive(message));
    // The server's sockets keep the process alive, this doesn't.
    port1.unref();
  }

  get inFlight(): number {
    return this.#calls.size;
  }

  /** Whether the thread can begin a request now. */
  get hasRoom(): boolean {
    return this.#takesMore && !this.#isBeginning && this.#calls.size < this.#concurrency;
  }

  /** Gives the thread a request. Only where it {@link hasRoom}. */
  give(call: WorkerCall<State>): void {
    const { connection, body, receivedAt } = call.request;
    const known = this.#numbers.get(connection);
    const number = known ?? this.#introduce(connection);
    const facts = known === undefined ? factsOf(connection) : null;
    const id = ++this.#lastId;
    call.id = id;
    this.#calls.set(id, call);
    this.#isBeginning = true;
    const own = ownBytes([body]);
    this.#say(
      { kind: 'request', id, connection: number, facts, body: own.bytes, receivedAt },
      own.transferList,
    );
  }

  #introduce(connection: ServerConnection<State>): number {
    const number = ++this.#lastNumber;
    this.#numbers.set(connection, number);
    this.#connections.set(number, connection);
    return number;
  }

  /** The connection has ended: the thread may forget it. */
  forget(connection: ServerConnection<State>): void {
    const number = this.#numbers.get(connection);
    if (number === undefined) return;
    this.#numbers.delete(connection);
    this.#connections.delete(number);
    this.#say({ kind: 'ended', connection: number });
  }

  async retire(): Promise<void> {
    this.#takesMore = false;
    if (this.#isDetached) return;
    await new Promise<void>((resolve) => {
      this.#retired = resolve;
      this.#events.retiring();
      this.#checkRetired();
    });
    this.detach(new OdradekError('ERR_ODRADEK_HANDLER_LOST', 'its thread has retired'));
  }

  #checkRetired(): void {
    if (this.#calls.size === 0) this.#retired?.();
  }

  detach(error: OdradekError): Detached {
    if (this.#isDetached) return { started: 0, requeued: 0 };
    this.#takesMore = false;
    Atomics.store(this.#status, linkStatus.detached, 1);
    // What it had said before is still true.
    receiveAll<FromHandler>(this.#port, (message) => this.#receive(message));
    this.#shut();
    const lastBegun = Atomics.load(this.#status, linkStatus.started);
    this.#began(lastBegun);
    const begun: WorkerCall<State>[] = [];
    const others: WorkerCall<State>[] = [];
    for (const call of this.#calls.values()) (call.id <= lastBegun ? begun : others).push(call);
    this.#calls.clear();
    this.#events.lost(others);
    for (const call of begun) {
      const { request } = call;
      request.failCode = lossCode(error);
      // What nobody waits for any more hasn't failed.
      if (request.connection.ended) call.answer(noReply);
      else call.fail(error);
    }
    this.#retired?.();
    return { started: begun.length, requeued: others.length };
  }

  #shut(): void {
    this.#isDetached = true;
    this.#port.close();
    this.#numbers.clear();
    this.#connections.clear();
  }

  #say(message: ToHandler, transferList: readonly ArrayBuffer[] = []): void {
    if (!this.#isDetached) this.#port.postMessage(message, transferList);
  }

  #receive(message: FromHandler): void {
    if (message.kind === 'answer') {
      this.#take(message.id)?.answer(unpackReply(message.reply), message.readyAt);
      this.#wentOn();
    } else if (message.kind === 'failed') {
      this.#take(message.id)?.fail(unpackError(message.error));
      this.#wentOn();
    } else if (message.kind === 'started') {
      this.#began(message.id);
      this.#wentOn();
    } else if (message.kind === 'mistake') {
      this.#events.mistake(unpackError(message.error));
    } else if (message.kind === 'close') {
      this.#connections.get(message.connection)?.close(message.detail);
    } else if (message.kind === 'push') {
      this.#push(message.connection, message.bytes);
    } else {
      const call = this.#calls.get(message.id);
      if (call === undefined) return;
      if (message.kind === 'watchSignal') this.#watchSignal(call);
      else if (message.kind === 'watchSent') this.#watchSent(call);
      else if (message.kind === 'throttle') call.request.connection.throttle(message.ms);
      else this.#setFraming(call, message.framing);
    }
  }

  /** The call that is answered. */
  #take(id: number): WorkerCall<State> | undefined {
    this.#began(id);
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    return call;
  }

  #began(id: number): void {
    if (id !== this.#lastId || !this.#isBeginning) return;
    this.#isBeginning = false;
    this.startedTotal++;
  }

  #wentOn(): void {
    if (this.#retired !== null) this.#checkRetired();
    else if (this.hasRoom) this.#events.hasRoom();
  }

  #push(number: number, bytes: Uint8Array): void {
    const connection = this.#connections.get(number);
    // The thread hears of its end by itself.
    if (connection === undefined || connection.closing) return;
    const tell = () => this.#say({ kind: 'pushed', connection: number, bytes: bytes.byteLength });
    try {
      if (connection.send(bytes)) tell();
      else connection.drained().then(tell);
    } catch (error) {
      this.#events.mistake(error);
      tell();
    }
  }

  #watchSignal({ id, request }: WorkerCall<State>): void {
    const { signal } = request;
    const tell = () => this.#say({ kind: 'abort', id, reason: packError(signal.reason) });
    if (signal.aborted) tell();
    else signal.addEventListener('abort', tell, { once: true });
  }

  #watchSent({ id, request }: WorkerCall<State>): void {
    request.sent.then((outcome) => this.#say({ kind: 'sent', id, outcome }));
  }

  #setFraming(call: WorkerCall<State>, framing: Framing): void {
    try {
      call.request.connection.setFraming(Object.freeze(framing));
    } catch (error) {
      call.fail(error);
    }
  }
}

function factsOf<State>(connection: ServerConnection<State>): ConnectionFacts {
  const { id, listener, remoteAddress, remotePort } = connection;
  return { id, listener, remoteAddress, remotePort };
}
