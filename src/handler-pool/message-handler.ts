import { performance } from 'node:perf_hooks';
import type { MessagePort } from 'node:worker_threads';
import type { Handler } from '../options.js';
import type { HandlerTimes } from '../request-times.js';
import { packError } from './error-crossing.js';
import { alreadyAnswered, isThenable } from './handler-value.js';
import {
  type FromHandler,
  linkStatus,
  type MessageAttachment,
  type RequestMessage,
  type ToHandler,
} from './message-protocol.js';
import { packReply } from './reply-crossing.js';
import { WorkerConnection, WorkerRequest } from './worker-request.js';

/** Runs the handler for requests that come as messages, in a thread of the handler pool. */
export class MessageHandler {
  readonly #handler: Handler;
  readonly #port: MessagePort;
  readonly #status: Int32Array;
  readonly #connections = new Map<number, WorkerConnection>();
  /** Requests that are not answered, or whose `sent` is still to come. */
  readonly #requests = new Map<number, WorkerRequest>();

  readonly #mark: number;
  readonly #times: HandlerTimes;

  constructor(
    handler: Handler,
    { port, status, sendHighWaterMarkBytes }: MessageAttachment,
    times: HandlerTimes,
  ) {
    this.#times = times;
    this.#mark = sendHighWaterMarkBytes;
    this.#handler = handler;
    this.#port = port;
    this.#status = status;
  }

  start(): void {
    this.#port.on('message', (message: ToHandler) => this.#receive(message));
  }

  #receive(message: ToHandler): void {
    if (message.kind === 'request') {
      this.#begin(message);
    } else if (message.kind === 'pushed') {
      this.#connections.get(message.connection)?.left(message.bytes);
    } else if (message.kind === 'ended') {
      this.#connections.get(message.connection)?.end();
      this.#connections.delete(message.connection);
    } else {
      const request = this.#requests.get(message.id);
      if (message.kind === 'sent') this.#requests.delete(message.id);
      request?.hear(message);
    }
  }

  readonly #say = (message: FromHandler, transferList: readonly ArrayBuffer[] = []): void => {
    this.#port.postMessage(message, transferList);
  };

  #begin(message: RequestMessage): void {
    const connection = this.#connectionOf(message);
    Atomics.store(this.#status, linkStatus.started, message.id);
    // Given up, and the request with it: whoever did so has seen or will see that it was begun.
    if (Atomics.load(this.#status, linkStatus.detached) === 1) return;
    const request = new WorkerRequest(message, connection, this.#say);
    this.#requests.set(request.id, request);
    connection.open.add(request);
    this.#run(request);
  }

  #connectionOf({ connection: number, facts }: RequestMessage): WorkerConnection {
    let connection = this.#connections.get(number);
    if (connection === undefined) {
      if (facts === null) throw new Error(`connection ${number} is not known here`);
      connection = new WorkerConnection(number, facts, this.#mark, this.#say);
      this.#connections.set(number, connection);
    }
    return connection;
  }

  #run(request: WorkerRequest): void {
    const { connection } = request;
    let value: unknown;
    let isAwaited = false;
    const begunAt = performance.now();
    connection.beginning = request;
    try {
      value = this.#handler(request);
      // Looking for `then` may run the program's code too, and throw.
      isAwaited = !(value instanceof Uint8Array) && isThenable(value);
    } catch (error) {
      connection.beginning = null;
      this.#hasReturned(request, begunAt);
      this.#failed(request, error);
      return;
    }
    connection.beginning = null;
    const now = this.#hasReturned(request, begunAt);
    if (isAwaited) this.#await(value as PromiseLike<unknown>, request, now);
    else this.#answered(request, value, now);
  }

  /** Its handler has. What time it is. */
  #hasReturned({ receivedAt }: WorkerRequest, begunAt: number): number {
    const now = performance.now();
    this.#times.requestQueue.record(begunAt - receivedAt, 1);
    this.#times.local.record(now - begunAt, 1);
    return now;
  }

  #await(value: PromiseLike<unknown>, request: WorkerRequest, returnedAt: number): void {
    const settledNow = (): number => {
      const now = performance.now();
      if (!request.returned) this.#times.remote.record(now - returnedAt, 1);
      return now;
    };
    const rejected = (error: unknown) => {
      settledNow();
      this.#failed(request, error);
    };
    try {
      value.then((result) => this.#answered(request, result, settledNow()), rejected);
    } catch (error) {
      rejected(error);
    }
    // An answer that comes in the microtasks says so too, and saves the message.
    process.nextTick(() => {
      if (!request.returned) this.#say({ kind: 'started', id: request.id });
    });
  }

  #answered(request: WorkerRequest, value: unknown, readyAt: number): void {
    if (!this.#settle(request)) return;
    try {
      const { reply, transferList } = packReply(value);
      this.#say({ kind: 'answer', id: request.id, reply, readyAt }, transferList);
    } catch (error) {
      this.#say({ kind: 'failed', id: request.id, error: packError(error) });
    }
  }

  #failed(request: WorkerRequest, error: unknown): void {
    if (!this.#settle(request)) return;
    this.#say({ kind: 'failed', id: request.id, error: packError(error) });
  }

  /** Whether this is the first that the handler says. */
  #settle(request: WorkerRequest): boolean {
    if (request.returned) {
      this.#say({ kind: 'mistake', error: packError(alreadyAnswered()) });
      return false;
    }
    request.returned = true;
    request.connection.open.delete(request);
    if (!request.sentAsked) this.#requests.delete(request.id);
    return true;
  }
}
