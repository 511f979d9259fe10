import { performance } from 'node:perf_hooks';

/** Moments that share a reading with the one that read, at most. */
const sharing = 15;

/** From so many moments between two rests on, the next ones may share readings. */
const many = 64;

/** Moments between two readings were not quick if they took longer together. */
const slowMs = 0.1;

/** So many are read one by one at first, and after such as were not quick. */
const alone = 64;

/**
 * A clock that is asked often: to read it takes 50 ns. While many moments follow each other quickly, up
 * to 16 share a reading, which is then as old as 15 of them. What they say adds up to the right time.
 */
export class SharedClock {
  /** The last reading since the last rest. */
  #at = Number.POSITIVE_INFINITY;
  /** Moments that may still share it. */
  #left = 0;
  /** Moments to come that share none. */
  #alone = alone;
  /** Moments since the last rest. */
  #moments = 0;
  #areMany = false;

  /** What time it is, or was a few quick moments ago. */
  now(): number {
    this.#moments++;
    if (this.#left === 0) return this.read();
    this.#left--;
    return this.#at;
  }

  /** What time it is. */
  read(): number {
    const now = performance.now();
    if (now - this.#at > slowMs) this.#alone = alone;
    if (this.#alone > 0) this.#alone--;
    else if (this.#areMany) this.#left = sharing;
    this.#at = now;
    return now;
  }

  /** Something else may run from here on, and takes the time that it takes. */
  rest(): void {
    this.#areMany = this.#moments >= many;
    this.#moments = 0;
    this.#left = 0;
    this.#at = Number.POSITIVE_INFINITY;
  }
}
