import { Deferred } from './deferred.js';

/**
 * How much was given to one connection and has not left: what `connection.send()` returns and
 * `connection.drained()` waits for. As with a Writable of Node's, but for one thing: a drain comes at
 * half of the mark, since replies may keep a connection from ever having nothing to send.
 */
export class SendGauge {
  readonly #mark: number;
  /** What has not left, as far as was said. */
  unsent = 0;
  #isFull = false;
  #drain: Deferred<void> | null = null;

  constructor(mark: number) {
    this.#mark = mark;
  }

  /** So many bytes have not left, the last ones given among them: whether more may be given now. */
  given(unsent: number): boolean {
    this.unsent = unsent;
    if (unsent < this.#mark) return true;
    this.#isFull = true;
    return false;
  }

  /** So many have not left by now. */
  left(unsent: number): void {
    this.unsent = unsent;
    if (this.#isFull && unsent <= this.#mark / 2) this.open();
  }

  /** Nobody has to wait: it is drained, or the connection has ended. */
  open(): void {
    this.#isFull = false;
    this.#drain?.resolve();
    this.#drain = null;
  }

  drained(): Promise<void> {
    if (!this.#isFull) return Promise.resolve();
    this.#drain ??= new Deferred();
    return this.#drain.promise;
  }
}
