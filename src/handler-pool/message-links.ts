import type { ServerConnection } from '../connection.js';
import { Fifo } from '../fifo.js';
import { noReply } from '../reply.js';
import type { ServerRequest } from '../request.js';
import type { HandlerPoolSettings } from './handler-pool-options.js';
import type { HandlerRunner } from './in-thread-handler-pool.js';
import { MessageLink } from './message-link.js';
import type { HandlerLink, HandlerLinks } from './thread-protocol.js';
import { WorkerCall } from './worker-call.js';

export interface MessageLinksEvents<State> {
  /** A handler thread has the request from here on. */
  given(request: ServerRequest<State>): void;
  /** It was lost before it had begun the request, which waits again. */
  takenBack(request: ServerRequest<State>): void;
  /** A request may be admitted now that could not be before. */
  hasRoom(): void;
  mistake(error: unknown): void;
}

/** Requests that wait for the same threads: for any, or with affinity for one. */
class Lane<State> {
  /** Threads that are attached at this moment. */
  readonly links = new Set<MessageLink<State>>();
  /** Connections bound to it. */
  connections = 0;
  /** Taken from the queue, and not with a thread: what a lost thread had not begun stands first. */
  readonly waiting = new Fifo<WorkerCall<State>>();

  /** The thread with the least to do of those that can begin a request. */
  get free(): MessageLink<State> | undefined {
    let best: MessageLink<State> | undefined;
    for (const link of this.links) {
      if (!link.hasRoom) continue;
      if (best === undefined || link.inFlight < best.inFlight) best = link;
    }
    return best;
  }
}

/**
 * The handler pool of the js transport: gives requests to threads as messages. A request stays in
 * the transport's queue until a thread can begin it ({@link admits}); only what follows an answered
 * request of its connection, and what a lost thread had not begun, may have to wait here.
 */
export class MessageLinks<State> implements HandlerLinks, HandlerRunner<State> {
  readonly isImmediate = false;
  readonly #concurrency: number;
  readonly #mark: number;
  readonly #events: MessageLinksEvents<State>;
  readonly #affinity: 'any' | 'connection';
  /** By thread; a lost one keeps its lane. With affinity `'any'` one lane has them all. */
  readonly #lanes = new Map<number, Lane<State>>();
  readonly #bound = new Map<ServerConnection<State>, Lane<State>>();
  readonly #links = new Set<MessageLink<State>>();

  constructor(
    settings: HandlerPoolSettings,
    sendHighWaterMarkBytes: number,
    events: MessageLinksEvents<State>,
  ) {
    this.#mark = sendHighWaterMarkBytes;
    this.#affinity = settings.affinity;
    this.#concurrency = settings.concurrency;
    this.#events = events;
    for (let thread = 0; thread < settings.threads; thread++) this.#laneOf(thread);
  }

  link(thread: number): HandlerLink {
    const lane = this.#laneOf(thread);
    const link = new MessageLink<State>(this.#concurrency, this.#mark, {
      hasRoom: () => this.#goOn(lane),
      retiring: () => lane.links.delete(link),
      lost: (calls) => {
        lane.links.delete(link);
        this.#links.delete(link);
        this.#requeue(calls);
      },
      mistake: (error) => this.#events.mistake(error),
    });
    lane.links.add(link);
    this.#links.add(link);
    this.#goOn(lane);
    return link;
  }

  #laneOf(thread: number): Lane<State> {
    const number = this.#affinity === 'any' ? 0 : thread;
    let lane = this.#lanes.get(number);
    if (lane === undefined) {
      lane = new Lane();
      this.#lanes.set(number, lane);
    }
    return lane;
  }

  /** Where a connection's requests go. With affinity the first of them binds it. */
  #laneFor(connection: ServerConnection<State>): Lane<State> {
    if (this.#affinity === 'any') return this.#laneOf(0);
    const bound = this.#bound.get(connection);
    if (bound !== undefined) return bound;
    let fewest = this.#laneOf(0);
    for (const lane of this.#lanes.values()) {
      if (lane.connections < fewest.connections) fewest = lane;
    }
    if (connection.ended) return fewest;
    fewest.connections++;
    this.#bound.set(connection, fewest);
    return fewest;
  }

  /** Whether a thread can begin the request now. */
  admits({ connection }: ServerRequest<State>): boolean {
    const lane = this.#laneFor(connection);
    return lane.waiting.length === 0 && lane.free !== undefined;
  }

  run(request: ServerRequest<State>): WorkerCall<State> {
    const call = new WorkerCall(request);
    this.#enter(call);
    return call;
  }

  #enter(call: WorkerCall<State>): void {
    const lane = this.#laneFor(call.request.connection);
    const free = lane.waiting.length === 0 ? lane.free : undefined;
    if (free !== undefined) this.#give(free, call);
    else lane.waiting.push(call);
  }

  #give(link: MessageLink<State>, call: WorkerCall<State>): void {
    link.give(call);
    this.#events.given(call.request);
  }

  /** A thread of the lane has room: for what waits here, or for more from the queue. */
  #goOn(lane: Lane<State>): void {
    while (lane.waiting.length > 0) {
      const { free } = lane;
      if (free === undefined) return;
      const call = lane.waiting.shift() as WorkerCall<State>;
      const { isCut, ended } = call.request.connection;
      // Its reply would reach nobody, so the handler is spared.
      if (isCut || ended) call.answer(noReply);
      else this.#give(free, call);
    }
    this.#events.hasRoom();
  }

  /** A lost thread had not begun these. */
  #requeue(calls: readonly WorkerCall<State>[]): void {
    for (const call of [...calls].reverse()) {
      const lane = this.#laneFor(call.request.connection);
      this.#events.takenBack(call.request);
      lane.waiting.unshift(call);
      this.#goOn(lane);
    }
  }

  remove(thread: number): void {
    const lane = this.#lanes.get(thread);
    if (this.#affinity === 'any' || lane === undefined) return;
    this.#lanes.delete(thread);
    for (const [connection, bound] of this.#bound) {
      if (bound === lane) this.#bound.delete(connection);
    }
    for (let call = lane.waiting.shift(); call !== undefined; call = lane.waiting.shift()) {
      this.#enter(call);
    }
    this.#events.hasRoom();
  }

  /** The connection has ended: nobody needs to know it any more. */
  forget(connection: ServerConnection<State>): void {
    const lane = this.#bound.get(connection);
    if (lane !== undefined) lane.connections--;
    this.#bound.delete(connection);
    for (const link of this.#links) link.forget(connection);
    // What waits for a thread of its own accord is dropped, wherever it stands.
    for (const each of this.#lanes.values()) {
      if (each.waiting.length === 0) continue;
      const dropped = each.waiting.remove((call) => call.request.connection === connection);
      for (const call of dropped) call.answer(noReply);
    }
  }
}
