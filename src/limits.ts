import { checkNames, invalidOption } from './check.js';
import {
  type ConnectionLimitOptions,
  type ConnectionLimits,
  checkConnectionLimits,
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
import { checkTimeouts, type TimeoutOptions, type Timeouts, timeoutNames } from './timeouts.js';

/** By what a server protects itself: see docs/limits.md. */
export interface LimitOptions extends TimeoutOptions, ConnectionLimitOptions, MemoryLimitOptions {}

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
}

export const limitNames = [
  ...timeoutNames,
  ...connectionLimitNames,
  ...memoryLimitNames,
] as const satisfies readonly (keyof LimitOptions)[];

/** A server's limits, which may be changed while it runs. */
export class ChangeableLimits {
  #options: LimitOptions;
  #listeners: readonly LimitedListener[];
  #current: Limits;

  /** Throws `ERR_ODRADEK_INVALID_OPTION` for a wrong limit. */
  constructor(options: LimitOptions, listeners: readonly LimitedListener[]) {
    this.#options = options;
    this.#listeners = listeners;
    this.#current = check(options, listeners);
  }

  get current(): Limits {
    return this.#current;
  }

  /** All or nothing: throws `ERR_ODRADEK_INVALID_OPTION` for a wrong limit, and nothing has changed. */
  change(changes: LimitChanges): Limits {
    checkNames('updateLimits()', changes, [...limitNames, 'listeners']);
    const { listeners: ofListeners = {}, ...ofServer } = changes;
    const names = this.#listeners.map(({ name }) => name);
    checkNames('listeners', ofListeners, names);
    for (const [name, limits] of Object.entries(ofListeners)) {
      if (typeof limits !== 'object') throw invalidOption(`listeners.${name}`, 'an object', limits);
      checkNames(`listeners.${name}`, limits, listenerLimitNames);
    }
    const options = { ...this.#options, ...ofServer };
    const listeners = this.#listeners.map((listener) => ({
      ...listener,
      ...ofListeners[listener.name],
    }));
    this.#current = check(options, listeners);
    this.#options = options;
    this.#listeners = listeners;
    return this.#current;
  }
}

function check(options: LimitOptions, listeners: readonly LimitedListener[]): Limits {
  return {
    timeouts: checkTimeouts(options),
    connections: checkConnectionLimits(options, listeners),
    memory: checkMemoryLimits(options),
  };
}
