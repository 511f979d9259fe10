import { describe, OdradekError } from './errors.js';
import type { Listener, ListenerOptions } from './options.js';

/** The core's kMaxListeners. */
export const maxListeners = 65_535;

type Check<State> = (options: ListenerOptions<State>, at: string, index: number) => Listener<State>;

/**
 * The listeners of a server, which come and go while it runs. Each has a number, by which
 * connections and events name it: that of a removed one is never given to another.
 */
export class Listeners<State = unknown> {
  readonly #check: Check<State>;
  /** By number. */
  readonly #all: (Listener<State> | undefined)[] = [];
  readonly #stages = new Map<Listener<State>, 'opening' | 'open' | 'draining'>();

  /** Throws `ERR_ODRADEK_INVALID_OPTION` if one of them is wrong. */
  constructor(listeners: readonly ListenerOptions<State>[], check: Check<State>) {
    this.#check = check;
    listeners.forEach((options, index) => {
      this.opened(this.#take(options, `listeners[${index}]`));
    });
  }

  /** Those that are open, in the order of their numbers. */
  *[Symbol.iterator](): IterableIterator<Listener<State>> {
    for (const [listener, stage] of this.#stages) if (stage === 'open') yield listener;
  }

  /** Those that are open, or still have connections. */
  get served(): readonly Listener<State>[] {
    return [...this.#stages].flatMap(([listener, stage]) => (stage === 'opening' ? [] : listener));
  }

  /** By its number, also after it was removed. */
  at(index: number): Listener<State> | undefined {
    return this.#all[index];
  }

  /** An open one; throws `ERR_ODRADEK_INVALID_ARGUMENT` if there is none with this name. */
  named(name: unknown): Listener<State> {
    for (const listener of this) if (listener.name === name) return listener;
    const names = [...this].map((listener) => listener.name);
    throw new OdradekError(
      'ERR_ODRADEK_INVALID_ARGUMENT',
      names.length === 0
        ? `there is no listener, got ${describe(name)}`
        : `listener must be one of ${names.join(', ')}, got ${describe(name)}`,
    );
  }

  /** The only one that is open. */
  get only(): Listener<State> | undefined {
    const [listener, ...others] = this;
    return others.length === 0 ? listener : undefined;
  }

  /**
   * One more, which is to be opened: its name is taken from here on. Throws
   * `ERR_ODRADEK_INVALID_OPTION`.
   */
  add(options: ListenerOptions<State>): Listener<State> {
    return this.#take(options, 'listener');
  }

  #take(options: ListenerOptions<State>, at: string): Listener<State> {
    // The number of one that was never opened is free again.
    const hole = this.#all.indexOf(undefined);
    const index = hole === -1 ? this.#all.length : hole;
    if (index === maxListeners) {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_STATE',
        `a server can't have more than ${maxListeners} listeners, removed ones among them`,
      );
    }
    const listener = this.#check(options, at, index);
    if ([...this.#stages.keys()].some(({ name }) => name === listener.name)) {
      throw new OdradekError(
        'ERR_ODRADEK_INVALID_OPTION',
        `two listeners have the name ${JSON.stringify(listener.name)}; names must be unique`,
      );
    }
    this.#all[index] = listener;
    this.#stages.set(listener, 'opening');
    return listener;
  }

  /** From here on others may name it by its number. */
  opened(listener: Listener<State>): void {
    this.#stages.set(listener, 'open');
  }

  /** It could not be opened, or not in time. */
  withdraw(listener: Listener<State>): void {
    if (this.#stages.get(listener) === 'opening') this.#all[listener.index] = undefined;
    this.#stages.delete(listener);
  }

  /** It is closed; its connections come to their end. */
  drain(listener: Listener<State>): void {
    this.#stages.set(listener, 'draining');
  }

  /** Its name is free. */
  remove(listener: Listener<State>): void {
    this.#stages.delete(listener);
  }
}
