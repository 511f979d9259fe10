/**
 * A turn of the event loop for what the last one left: asked for at most once at a time.
 *
 * It keeps the process alive as `setImmediate` does, unless it is let go. Then libuv may wait for
 * I/O while the turn is due, if nothing else wakes it: a timer bounds that.
 */
export class LoopTurn {
  readonly #take: () => void;
  #isHeld = true;
  #immediate: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(take: () => void) {
    this.#take = take;
  }

  get isAsked(): boolean {
    return this.#immediate !== undefined;
  }

  ask(): void {
    if (this.isAsked) return;
    this.#immediate = setImmediate(this.#run);
    if (this.#isHeld) return;
    this.#immediate.unref();
    this.#timer = setTimeout(this.#run, 1).unref();
  }

  forget(): void {
    clearImmediate(this.#immediate);
    clearTimeout(this.#timer);
    this.#immediate = undefined;
    this.#timer = undefined;
  }

  /** Whether a turn that is due keeps the process alive; it does by default. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    if (!this.isAsked) return;
    this.forget();
    this.ask();
  }

  readonly #run = (): void => {
    this.forget();
    this.#take();
  };
}
