import { performance } from 'node:perf_hooks';
import type { ServerRequest } from '../request.js';

/** Finds requests that are with their handlers for longer than `handlerTimeoutMs`. */
export class HandlerClock<State> {
  readonly #timeoutMs: number;
  readonly #onLate: (request: ServerRequest<State>) => void;
  /** When each is late. All may take equally long, so the oldest stands first. */
  readonly #lateAt = new Map<ServerRequest<State>, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(timeoutMs: number, onLate: (request: ServerRequest<State>) => void) {
    this.#timeoutMs = timeoutMs;
    this.#onLate = onLate;
  }

  /** A handler has the request from here on. */
  start(request: ServerRequest<State>): void {
    if (this.#timeoutMs === 0) return;
    this.#lateAt.set(request, performance.now() + this.#timeoutMs);
    if (this.#timer === undefined) this.#wait(this.#timeoutMs);
  }

  /** It is answered, or nobody wants to know any more. */
  end(request: ServerRequest<State>): void {
    if (this.#timeoutMs > 0) this.#lateAt.delete(request);
  }

  /** The server has ended. */
  clear(): void {
    this.#lateAt.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wait(ms: number): void {
    // A request that is started while others are found late may have begun to wait.
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#look, Math.max(1, ms)).unref();
  }

  /** Answers that came while this thread was busy count: they are taken before the next phase. */
  readonly #look = (): void => {
    setImmediate(this.#takeLate);
  };

  readonly #takeLate = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (const [request, lateAt] of this.#lateAt) {
      if (lateAt > now) {
        this.#wait(lateAt - now);
        return;
      }
      this.#lateAt.delete(request);
      this.#onLate(request);
    }
  };
}
