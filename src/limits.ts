import { checkNames, invalidOption } from './check.js';
import {
  type ConnectionLimitOptions,
  type ConnectionLimits,
  checkConnectionLimits,
  checkProtectedListener,
  connectionLimitNames,
  type LimitedListener,
  type ListenerLimitOptions,
  listenerLimitNames,
} from './connection-limits.js';
import {
  checkMemoryLimits,
  type MemoryLimitOptions,
  type MemoryLimits,
  memoryLimitNames,
} from './memory-limits.js';
import {
  checkOverload,
  type OverloadLimits,
  type OverloadOptions,
  overloadOptionNames,
} from './overload-limits.js';
import { checkTimeouts, type TimeoutOptions, type Timeouts, timeoutNames } from './timeouts.js';

/** By what a server protects itself: see docs/limits.md. */
export interface LimitOptions extends TimeoutOptions, ConnectionLimitOptions, MemoryLimitOptions {
  /** What is done where requests or connections wait for too long. */
  overload?: OverloadOptions;
}

/** What `updateLimits()` changes; what it doesn't name stays. */
export interface LimitChanges extends LimitOptions {
  /** By the listener's name. */
  listeners?: Readonly<Record<string, ListenerLimitOptions>>;
}

/** With every default filled in and every value checked. */
export interface Limits {
  readonly timeouts: Timeouts;
  readonly connections: ConnectionLimits;
  readonly memory: MemoryLimits;
  readonly overload: OverloadLimits;
}

export const limitNames = [
  ...timeoutNames,
  ...connectionLimitNames,
  ...memoryLimitNames,
  'overload',
] as const satisfies readonly (keyof LimitOptions)[];

/** A server's limits, which may be changed while it runs. */
export class ChangeableLimits {
  #options: LimitOptions;
  /** By number; `null` where one was removed. */
  #listeners: readonly (LimitedListener | null)[];
  #current: Limits;

  /** Throws `ERR_ODRADEK_INVALID_OPTION` for a wrong limit. */
  constructor(options: LimitOptions, listeners: readonly LimitedListener[]) {
    this.#options = options;
    this.#listeners = listeners;
    checkProtectedListener(options.protectedListener, listeners);
    this.#current = check(options, listeners);
  }

  get current(): Limits {
    return this.#current;
  }

  /** All or nothing: throws `ERR_ODRADEK_INVALID_OPTION` for a wrong limit, and nothing has changed. */
  change(changes: LimitChanges): Limits {
    checkNames('updateLimits()', changes, [...limitNames, 'listeners']);
    const { listeners: ofListeners = {}, ...ofServer } = changes;
    const names = this.#listeners.flatMap((listener) => (listener === null ? [] : listener.name));
    checkNames('listeners', ofListeners, names);
    for (const [name, limits] of Object.entries(ofListeners)) {
      if (typeof limits !== 'object') throw invalidOption(`listeners.${name}`, 'an object', limits);
      checkNames(`listeners.${name}`, limits, listenerLimitNames);
    }
    const options = { ...this.#options, ...ofServer };
    if (changes.overload !== undefined) {
      checkNames('overload', changes.overload, overloadOptionNames);
      options.overload = { ...this.#options.overload, ...changes.overload };
    }
    const listeners = this.#listeners.map((listener) =>
      listener === null ? null : { ...listener, ...ofListeners[listener.name] },
    );
    // It stays a name where that listener was removed.
    if ('protectedListener' in changes) {
      checkProtectedListener(options.protectedListener, listeners);
    }
    this.#current = check(options, listeners);
    this.#options = options;
    this.#listeners = listeners;
    return this.#current;
  }

  /** There is one more listener. Throws `ERR_ODRADEK_INVALID_OPTION`, and nothing has changed. */
  add(index: number, listener: LimitedListener): Limits {
    const listeners = [...this.#listeners];
    while (listeners.length <= index) listeners.push(null);
    listeners[index] = listener;
    this.#current = check(this.#options, listeners);
    this.#listeners = listeners;
    return this.#current;
  }

  remove(index: number): Limits {
    this.#listeners = this.#listeners.map((listener, at) => (at === index ? null : listener));
    this.#current = check(this.#options, this.#listeners);
    return this.#current;
  }
}

function check(options: LimitOptions, listeners: readonly (LimitedListener | null)[]): Limits {
  return {
    timeouts: checkTimeouts(options),
    connections: checkConnectionLimits(options, listeners),
    memory: checkMemoryLimits(options),
    overload: checkOverload(options.overload),
  };
}
