import type { CloseReason } from './close-reason.js';
import type { ServerConnection } from './connection.js';
import { Deferred } from './deferred.js';
import type { Listener } from './options.js';
import type { ServerRequest } from './request.js';
import type { Transport } from './transport.js';

/** When to look again for connections whose opening or end is still to be told. */
export const unheardMs = 1;

/** The end of one listener's connections while the server goes on: what `removeListener()` waits for. */
export class ListenerRemoval<State> {
  readonly #transport: Transport<State>;
  readonly #listener: Listener<State>;
  /** The request whose handler may await the removal itself: it is not waited for. */
  readonly #exempt: ServerRequest<State> | null;
  /** As far as was told. */
  readonly #open = new Set<ServerConnection<State>>();
  /** Requests that had been received and got no answer. */
  #cut = 0;
  #deadline: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;
  #isDone = false;
  readonly #done = new Deferred<void>();
  /** No connection of the listener is waited for any more, but for an exempt one. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  constructor(
    transport: Transport<State>,
    listener: Listener<State>,
    exempt: ServerRequest<State> | null,
  ) {
    this.#transport = transport;
    this.#listener = listener;
    this.#exempt = exempt?.connection.listenerConfig === listener ? exempt : null;
  }

  /** Closes the listener; what is left at the deadline is cut. */
  begin(drainMs: number): void {
    for (const connection of this.#transport.connections()) {
      if (connection.listenerConfig === this.#listener) this.#open.add(connection);
    }
    this.#deadline = setTimeout(() => this.#transport.cutListener(this.#listener), drainMs);
    this.#transport.drainListener(this.#listener);
    this.check();
  }

  /** `close()` has begun: its deadline counts from here on. */
  supersede(): void {
    clearTimeout(this.#deadline);
  }

  opened(connection: ServerConnection<State>): void {
    this.#open.add(connection);
  }

  closed(connection: ServerConnection<State>, reason: CloseReason): void {
    this.#open.delete(connection);
    if (!this.#isDone) this.#cut += reason.unanswered;
    this.check();
  }

  /** All that are left have ended: the removal need not hear of connections any more. */
  get isOver(): boolean {
    return this.#isDone && this.#open.size === 0;
  }

  get summary(): { completed: number; cut: number } {
    const { answered } = this.#transport.listenerCounts(this.#listener);
    return { completed: answered, cut: this.#cut };
  }

  check(): void {
    if (this.#open.size === 0 && this.#isDone) clearTimeout(this.#deadline);
    if (this.#isDone || this.#open.size > (this.#isExempting ? 1 : 0)) return;
    // One may be open, and even answered by a handler thread, before this thread has heard of it.
    if (this.#transport.listenerCounts(this.#listener).connections > this.#open.size) {
      this.#look ??= setTimeout(() => {
        this.#look = undefined;
        this.check();
      }, unheardMs);
      return;
    }
    if (this.#open.size > (this.#isExempting ? 1 : 0)) return;
    this.#isDone = true;
    if (this.#open.size === 0) clearTimeout(this.#deadline);
    this.#done.resolve();
  }

  get #isExempting(): boolean {
    if (this.#exempt === null) return false;
    const { connection } = this.#exempt;
    return this.#open.has(connection) && !connection.order?.isBehind(this.#exempt);
  }
}
