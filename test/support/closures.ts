import { types } from 'node:util';
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  type Worker,
} from 'node:worker_threads';
import {
  type Connection,
  closeConnection,
  type ErrorCode,
  type Framing,
  type Handler,
  type HandlerPoolOptions,
  noReply,
  OdradekError,
  type Reply,
  type Request,
  type SentOutcome,
  type SocketServerOptions,
} from 'odradek';

/** How long the test's thread blocks for a handler thread before it takes it for dead. */
const patienceMs = 3000;

/** What became of a closure, as a message: see `replyOf` in test/handlers/closures.mjs. */
type Outcome =
  | { reply: string; bytes?: unknown }
  | { value: unknown }
  | { error: number }
  | { isAwaited: true };

interface CallMessage {
  kind: 'call';
  call: number;
  body: Uint8Array;
  receivedAt: number;
  facts: Pick<Connection, 'id' | 'listener' | 'remoteAddress' | 'remotePort'>;
  isRefused: boolean;
}

/** An error as a message: the clone of one would lose its code. */
interface Reason {
  code?: string;
  message: string;
}

interface DoneMessage {
  kind: 'done';
  reason?: Reason;
  error?: { code: ErrorCode; message: string };
  /** What `send()` has returned. */
  takesMore?: boolean;
}

type FromThread =
  | CallMessage
  | DoneMessage
  | { kind: 'abort'; call: number; reason: Reason }
  | { kind: 'sent'; call: number; outcome: SentOutcome }
  | { kind: 'drained'; wait: number };

type ToThread =
  | { kind: 'returned' | 'settled'; call: number; outcome: Outcome }
  | { kind: 'do'; what: 'signal' | 'sent'; call: number }
  | { kind: 'do'; what: 'throttle'; call: number; ms: number }
  | { kind: 'do'; what: 'send'; connection: string; bytes: unknown }
  | { kind: 'do'; what: 'drained'; connection: string; wait: number }
  | { kind: 'do'; what: 'close'; connection: string; detail: string | undefined }
  | { kind: 'do'; what: 'setFraming'; connection: string; framing: Framing; isFrozen: boolean };

/** What closures threw: an error crosses as its number and is itself again on the other side. */
const thrown: unknown[] = [];

/** The error that the closure threw, where an error that came from a thread stands for it. */
export function originalOf(error: unknown): unknown {
  // What a test throws on purpose may not even be looked at.
  if (!types.isNativeError(error)) return error;
  const { closureError } = error as { closureError?: number };
  return closureError === undefined ? error : thrown[closureError];
}

const pools: Closures<never>[] = [];

process.on('worker', (worker) => {
  worker.once('message', (hello: { closures: number }) => {
    pools[hello.closures]?.meet(worker);
  });
});

/** The handlers of one server's options, run on this thread for the threads of a handler pool. */
export class Closures<State> {
  readonly #options: Partial<SocketServerOptions<State>>;
  readonly #number: number;
  readonly #connections = new Map<string, Connection<State>>();

  constructor(options: Partial<SocketServerOptions<State>>) {
    this.#options = options;
    this.#number = pools.push(this as unknown as Closures<never>) - 1;
  }

  /** The server's options with a pool instead of the closures. */
  get options(): Partial<SocketServerOptions<State>> {
    const { handler: _handler, listeners, onHandlerError, onOverload, ...others } = this.#options;
    const module = onOverload === undefined ? 'closures.mjs' : 'refusing-closures.mjs';
    const handlerPool: HandlerPoolOptions = {
      module: new URL(`../handlers/${module}`, import.meta.url),
      threads: 2,
      // Requests of a connection start in their order, as tests expect of one thread.
      affinity: 'connection',
      concurrency: 65_536,
      data: { closures: this.#number },
    };
    return {
      ...others,
      handlerPool,
      ...(listeners === undefined
        ? {}
        : { listeners: listeners.map(({ handler: _own, ...listener }) => listener) }),
      ...(onHandlerError === undefined
        ? {}
        : {
            onHandlerError: (error: unknown, request: Request<State>) =>
              onHandlerError(originalOf(error), request),
          }),
    };
  }

  meet(worker: Worker): void {
    const { port1, port2 } = new MessageChannel();
    const words = new Int32Array(new SharedArrayBuffer(8));
    const thread = new ClosureThread(port1, words, this);
    worker.once('exit', () => thread.end());
    worker.postMessage({ port: port2, words }, [port2]);
  }

  handlerFor(listener: string): Handler<State> {
    const own = this.#options.listeners?.find(({ name = 'PLAINTEXT' }) => name === listener);
    return (own?.handler ?? this.#options.handler) as Handler<State>;
  }

  get onOverload(): Handler<State> {
    return this.#options.onOverload as Handler<State>;
  }

  /** One object for each connection, whatever thread its requests go to. */
  connectionOf(thread: ClosureThread<State>, facts: CallMessage['facts']): Connection<State> {
    let connection = this.#connections.get(facts.id);
    if (connection === undefined) {
      connection = new ClosureConnection<State>(thread, facts);
      this.#connections.set(facts.id, connection);
    }
    (connection as ClosureConnection<State>).thread = thread;
    return connection;
  }
}

/** One handler thread, as the closures see it. */
class ClosureThread<State> {
  readonly #port: MessagePort;
  readonly #words: Int32Array;
  readonly #closures: Closures<State>;
  readonly #requests = new Map<number, ClosureRequest<State>>();
  readonly #inbox: FromThread[] = [];
  readonly #waits: (() => void)[] = [];
  #isBusy = false;
  #isGone = false;

  constructor(port: MessagePort, words: Int32Array, closures: Closures<State>) {
    this.#port = port;
    this.#words = words;
    this.#closures = closures;
    port.on('message', (message: FromThread) => {
      this.#inbox.push(message);
      this.#takeAll();
    });
    port.unref();
  }

  end(): void {
    this.#isGone = true;
    let last = receiveMessageOnPort(this.#port)?.message as FromThread | undefined;
    while (last !== undefined) {
      this.#inbox.push(last);
      last = receiveMessageOnPort(this.#port)?.message;
    }
    this.#takeAll();
    this.#port.close();
  }

  #say(message: ToThread): void {
    if (this.#isGone) return;
    this.#port.postMessage(message);
    Atomics.add(this.#words, 0, 1);
    Atomics.notify(this.#words, 0);
  }

  /** Has something done in the thread, and blocks until it is. */
  do(message: ToThread & { kind: 'do' }): DoneMessage {
    this.#say(message);
    const deadline = performance.now() + patienceMs;
    while (!this.#isGone && performance.now() < deadline) {
      const said = Atomics.load(this.#words, 1);
      let next = receiveMessageOnPort(this.#port)?.message as FromThread | undefined;
      while (next !== undefined) {
        if (next.kind === 'done') {
          setImmediate(() => this.#takeAll());
          return next;
        }
        if (next.kind === 'call') this.#inbox.push(next);
        else this.#take(next);
        next = receiveMessageOnPort(this.#port)?.message;
      }
      Atomics.wait(this.#words, 1, said, patienceMs);
    }
    return { kind: 'done' };
  }

  drained(connection: string): Promise<void> {
    return new Promise((resolve) => {
      const wait = this.#waits.push(resolve) - 1;
      this.do({ kind: 'do', what: 'drained', connection, wait });
    });
  }

  /** A closure that is at work is not interrupted by the next one. */
  #takeAll(): void {
    if (this.#isBusy) return;
    for (let next = this.#inbox.shift(); next !== undefined; next = this.#inbox.shift()) {
      this.#isBusy = true;
      this.#take(next);
      this.#isBusy = false;
    }
  }

  #take(message: FromThread): void {
    if (message.kind === 'call') this.#run(message);
    else if (message.kind === 'abort') this.#requests.get(message.call)?.abort(message.reason);
    else if (message.kind === 'drained') this.#waits[message.wait]?.();
    else if (message.kind === 'sent') this.#requests.get(message.call)?.settle(message.outcome);
  }

  #run(message: CallMessage): void {
    const { call, facts, isRefused } = message;
    const connection = this.#closures.connectionOf(this, facts);
    const request = new ClosureRequest<State>(this, message, connection);
    this.#requests.set(call, request);
    const settle = (outcome: Outcome) => this.#say({ kind: 'settled', call, outcome });
    let outcome: Outcome = { isAwaited: true };
    try {
      const handler = isRefused
        ? this.#closures.onOverload
        : this.#closures.handlerFor(facts.listener);
      const value: unknown = handler(request);
      if (isThenable(value)) {
        listen(value, settle);
      } else {
        outcome = outcomeOf(value);
      }
    } catch (error) {
      outcome = failureOf(error);
    }
    this.#say({ kind: 'returned', call, outcome });
  }
}

function listen(value: PromiseLike<unknown>, settle: (outcome: Outcome) => void): void {
  try {
    value.then(
      (result) => settle(outcomeOf(result)),
      (error) => settle(failureOf(error)),
    );
  } catch (error) {
    settle(failureOf(error));
  }
}

function failureOf(error: unknown): Outcome {
  return { error: thrown.push(error) - 1 };
}

function outcomeOf(value: unknown): Outcome {
  if (value === noReply) return { reply: 'noReply' };
  if (value === closeConnection) return { reply: 'closeConnection' };
  const { kind, bytes } = (value ?? {}) as { kind?: string; bytes?: Reply };
  if (kind === 'replyAndClose') return { reply: kind, bytes };
  return { value: structuredClone(value) };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}

/** A connection as a closure sees it: what is done to it is done in the thread. */
class ClosureConnection<State> implements Connection<State> {
  readonly id: string;
  readonly listener: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  state = undefined as State;
  /** That of its latest request. */
  thread: ClosureThread<State>;

  constructor(thread: ClosureThread<State>, facts: CallMessage['facts']) {
    this.id = facts.id;
    this.listener = facts.listener;
    this.remoteAddress = facts.remoteAddress;
    this.remotePort = facts.remotePort;
    this.thread = thread;
  }

  close(detail?: string): void {
    this.thread.do({ kind: 'do', what: 'close', connection: this.id, detail });
  }

  send(bytes: Uint8Array | readonly Uint8Array[]): boolean {
    const { error, takesMore } = this.thread.do({
      kind: 'do',
      what: 'send',
      connection: this.id,
      bytes,
    });
    if (error !== undefined) throw new OdradekError(error.code, error.message);
    return takesMore === true;
  }

  drained(): Promise<void> {
    return this.thread.drained(this.id);
  }

  setFraming(framing: Framing): void {
    const { error } = this.thread.do({
      kind: 'do',
      what: 'setFraming',
      connection: this.id,
      framing,
      isFrozen: Object.isFrozen(framing),
    });
    if (error !== undefined) throw new OdradekError(error.code, error.message);
  }
}

/** A request as a closure sees it. */
class ClosureRequest<State> implements Request<State> {
  readonly body: Buffer;
  readonly connection: Connection<State>;
  readonly receivedAt: number;
  readonly #thread: ClosureThread<State>;
  readonly #call: number;
  #abort: AbortController | null = null;
  #sent: Promise<SentOutcome> | null = null;
  #resolve: (outcome: SentOutcome) => void = () => undefined;

  constructor(thread: ClosureThread<State>, message: CallMessage, connection: Connection<State>) {
    const { buffer, byteOffset, byteLength } = message.body;
    this.body = Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
    this.connection = connection;
    this.receivedAt = message.receivedAt;
    this.#thread = thread;
    this.#call = message.call;
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      const { reason } = this.#thread.do({ kind: 'do', what: 'signal', call: this.#call });
      if (reason !== undefined) this.abort(reason);
    }
    return this.#abort.signal;
  }

  get sent(): Promise<SentOutcome> {
    if (this.#sent === null) {
      this.#sent = new Promise((resolve) => {
        this.#resolve = resolve;
      });
      this.#thread.do({ kind: 'do', what: 'sent', call: this.#call });
    }
    return this.#sent;
  }

  throttle(ms: number): void {
    const { error } = this.#thread.do({ kind: 'do', what: 'throttle', call: this.#call, ms });
    if (error !== undefined) throw new OdradekError(error.code, error.message);
  }

  abort({ code, message }: Reason): void {
    this.#abort?.abort(Object.assign(new Error(message), code === undefined ? {} : { code }));
  }

  settle(outcome: SentOutcome): void {
    this.#resolve(outcome);
  }
}
