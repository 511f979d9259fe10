/** A reading takes the place of an older one when it is this old: what lies between is the window. */
const leastWindowMs = 1000;

interface Reading {
  readonly idleMs: number;
  readonly at: number;
}

/**
 * How much of the time a loop was idle, as Kafka's idle percentages say it: from 0, never, to 1,
 * always. Over the time since the last reading that is at least a second old, so that somebody who
 * reads every 15 seconds sees the last 15, and two who read don't take it from each other.
 */
export class IdleMeter {
  #from: Reading;
  #next: Reading;

  /** @param at the moment from which on `idleMs` counts */
  constructor(at: number) {
    this.#from = { idleMs: 0, at };
    this.#next = this.#from;
  }

  /** @param idleMs for how long the loop was idle, in all */
  read(idleMs: number, now: number): number {
    const passedMs = now - this.#from.at;
    const ratio = passedMs > 0 ? (idleMs - this.#from.idleMs) / passedMs : 1;
    if (now - this.#next.at >= leastWindowMs) {
      this.#from = this.#next;
      this.#next = { idleMs, at: now };
    }
    return Math.min(1, Math.max(0, ratio));
  }
}

/** The average, and 1 of none: what isn't there has nothing to do. */
export function average(ratios: readonly number[]): number {
  if (ratios.length === 0) return 1;
  return ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
}
