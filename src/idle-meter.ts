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
class IdleMeter {
  #from: Reading;
  #next: Reading;

  constructor(first: Reading) {
    this.#from = first;
    this.#next = first;
  }

  read(reading: Reading): number {
    // Counted anew: another loop has taken the place of one that ended.
    if (reading.idleMs < this.#next.idleMs) {
      this.#from = reading;
      this.#next = reading;
    }
    const passedMs = reading.at - this.#from.at;
    const ratio = passedMs > 0 ? (reading.idleMs - this.#from.idleMs) / passedMs : 1;
    if (reading.at - this.#next.at >= leastWindowMs) {
      this.#from = this.#next;
      this.#next = reading;
    }
    return Math.min(1, Math.max(0, ratio));
  }
}

/** The meters of a server's loops, by name. One that is new was idle. */
export class IdleMeters {
  readonly #meters = new Map<string, IdleMeter>();

  read(name: string, idleMs: number, at: number): number {
    const meter = this.#meters.get(name);
    if (meter !== undefined) return meter.read({ idleMs, at });
    this.#meters.set(name, new IdleMeter({ idleMs, at }));
    return 1;
  }
}

/** The average, and 1 of none: what isn't there has nothing to do. */
export function average(ratios: readonly number[]): number {
  if (ratios.length === 0) return 1;
  return ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
}
