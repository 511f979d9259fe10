/** A reading takes the place of an older one when it is this old: what lies between is the window. */
const leastWindowMs = 1000;

interface Reading {
  readonly total: number;
  readonly at: number;
}

/**
 * How fast a total grows, by the time since the last reading that is at least a second old: somebody
 * who reads every 15 seconds sees the last 15, and two who read don't take it from each other.
 */
class Meter {
  #from: Reading;
  #next: Reading;

  constructor(first: Reading) {
    this.#from = first;
    this.#next = first;
  }

  /** By how much for each millisecond; `null` where none has passed. */
  read(reading: Reading): number | null {
    // Counted anew: another one has taken the place of one that ended.
    if (reading.total < this.#next.total) {
      this.#from = reading;
      this.#next = reading;
    }
    const passedMs = reading.at - this.#from.at;
    const growth = passedMs > 0 ? (reading.total - this.#from.total) / passedMs : null;
    if (reading.at - this.#next.at >= leastWindowMs) {
      this.#from = this.#next;
      this.#next = reading;
    }
    return growth;
  }
}

/** The meters of a server, by name. */
class Meters {
  readonly #meters = new Map<string, Meter>();

  /** `null` of one that is new. */
  read(name: string, total: number, at: number): number | null {
    const meter = this.#meters.get(name);
    if (meter !== undefined) return meter.read({ total, at });
    this.#meters.set(name, new Meter({ total, at }));
    return null;
  }
}

/**
 * How much of the time loops were idle, as Kafka's idle percentages say it: from 0, never, to 1,
 * always. One that is new was idle.
 */
export class IdleMeters {
  readonly #meters = new Meters();

  read(name: string, idleMs: number, at: number): number {
    return Math.min(1, Math.max(0, this.#meters.read(name, idleMs, at) ?? 1));
  }
}

/** How much things that are counted happen in a second, as Kafka's rates say it. */
export class RateMeters {
  readonly #meters = new Meters();

  read(name: string, total: number, at: number): number {
    return (this.#meters.read(name, total, at) ?? 0) * 1000;
  }
}

/** The average, and 1 of none: what isn't there has nothing to do. */
export function average(ratios: readonly number[]): number {
  if (ratios.length === 0) return 1;
  return ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
}
