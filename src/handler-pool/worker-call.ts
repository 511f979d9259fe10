import type { Answer } from '../reply.js';
import type { ServerRequest } from '../request.js';

/**
 * A request on its way through a handler thread: the promise of its reply, as far as
 * `InThreadHandlerPool` needs one. It settles inside the call that brings the answer, so that all
 * that one turn brings leaves in one flush.
 */
export class WorkerCall<State> implements PromiseLike<Answer> {
  readonly request: ServerRequest<State>;
  /** Its number on the link that it was given to. */
  id = 0;
  #onReply: ((reply: Answer) => unknown) | null | undefined;
  #onError: ((error: unknown) => unknown) | null | undefined;

  constructor(request: ServerRequest<State>) {
    this.request = request;
  }

  /** Called once, by the pool, before anything settles. */
  // biome-ignore lint/suspicious/noThenProperty: the pool awaits it as it awaits a handler's promise
  then<Result1 = Answer, Result2 = never>(
    onReply?: ((reply: Answer) => Result1 | PromiseLike<Result1>) | null,
    onError?: ((error: unknown) => Result2 | PromiseLike<Result2>) | null,
  ): PromiseLike<Result1 | Result2> {
    this.#onReply = onReply;
    this.#onError = onError;
    return this as never;
  }

  /**
   * Whichever comes first of this and {@link fail} counts.
   *
   * @param readyAt when the reply was there, if not now
   */
  answer(reply: Answer, readyAt: number | null = null): void {
    this.request.readyAt = readyAt;
    const onReply = this.#onReply;
    this.#onReply = null;
    this.#onError = null;
    onReply?.(reply);
  }

  fail(error: unknown): void {
    const onError = this.#onError;
    this.#onReply = null;
    this.#onError = null;
    onError?.(error);
  }
}
