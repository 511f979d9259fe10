import type { ConnectionLimits, ListenerLimits } from '../../connection-limits.js';

/** By what an open connection is counted; given back when it ends. */
export interface Admission {
  readonly address: string;
  readonly listener: number;
}

/**
 * What {@link ConnectionQuotas.admit} says: it is counted; its listener waits, until a moment or (at
 * Infinity) until there is room; its address sends too many, and it is closed at a moment; its address
 * has too many, and it is closed at once.
 */
export type Verdict =
  | { readonly kind: 'admitted'; readonly admission: Admission }
  | { readonly kind: 'wait'; readonly until: number }
  | { readonly kind: 'park'; readonly until: number }
  | { readonly kind: 'refuse' };

const secondMs = 1000;

/** Events a second, as the core's Rate: those of one second may come at once after a pause. */
class Rate {
  /** Nothing is remembered from here on. */
  emptyAt = -Infinity;

  /** The earliest moment at which one more keeps within `limit`. */
  due(limit: number): number {
    return limit === Infinity ? -Infinity : this.emptyAt - (secondMs - secondMs / limit);
  }

  record(limit: number, now: number): void {
    if (limit !== Infinity) this.emptyAt = Math.max(this.emptyAt, now) + secondMs / limit;
  }
}

interface Counts {
  connections: number;
  readonly rate: Rate;
}

/**
 * Kafka's ConnectionQuotas, as the core's: how many connections there may be, and how many may come in
 * a second, in all, by listener and by IP address. What is turned away was never counted.
 */
export class ConnectionQuotas {
  #limits: ConnectionLimits;
  #total = 0;
  #protected = 0;
  /** To be closed since there are too many, and not given back yet. */
  #leaving = 0;
  readonly #rate = new Rate();
  readonly #listeners: Counts[] = [];
  readonly #byAddress = new Map<string, Counts>();
  /** Addresses that had no connection when they came here: forgotten once their rate is. */
  readonly #stale = new Set<string>();

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** @param now milliseconds of a clock that doesn't jump */
  admit(listener: number, address: string, now: number): Verdict {
    this.#forgetStale(now);
    const counts = this.#countsOf(address);
    const ofListener = this.ofListener(listener);
    const verdict = this.#judge(counts, address, listener, now);
    if (verdict !== null) {
      if (counts.connections === 0) this.#stale.add(address);
      return verdict;
    }
    const limits = this.#limitsOf(listener);
    this.#total++;
    counts.connections++;
    ofListener.connections++;
    counts.rate.record(this.#limits.maxConnectionCreationRatePerIp, now);
    ofListener.rate.record(limits.maxConnectionCreationRate, now);
    if (limits.isProtected) this.#protected++;
    else this.#rate.record(this.#limits.maxConnectionCreationRate, now);
    return { kind: 'admitted', admission: { address, listener } };
  }

  /** What concerns the address alone comes first: nobody waits for one that is turned away then. */
  #judge(counts: Counts, address: string, listener: number, now: number): Verdict | null {
    if (counts.connections >= this.#maxOf(address)) return { kind: 'refuse' };
    const addressDue = counts.rate.due(this.#limits.maxConnectionCreationRatePerIp);
    if (addressDue > now) return { kind: 'park', until: addressDue };
    const limits = this.#limitsOf(listener);
    const ofListener = this.ofListener(listener);
    const isFull =
      ofListener.connections >= limits.maxConnections ||
      (!limits.isProtected &&
        (this.#limits.isStopped || this.#total >= this.#limits.maxConnections));
    if (isFull) return { kind: 'wait', until: Infinity };
    const ownDue = ofListener.rate.due(limits.maxConnectionCreationRate);
    const due = limits.isProtected
      ? ownDue
      : Math.max(ownDue, this.#rate.due(this.#limits.maxConnectionCreationRate));
    return due > now ? { kind: 'wait', until: due } : null;
  }

  /** @param wasExcess it was closed since {@link takeExcess} said so */
  release({ address, listener }: Admission, wasExcess: boolean): void {
    const counts = this.#countsOf(address);
    counts.connections--;
    this.ofListener(listener).connections--;
    this.#total--;
    if (this.#limitsOf(listener).isProtected) this.#protected--;
    if (wasExcess) this.#leaving--;
    if (counts.connections === 0) this.#stale.add(address);
  }

  /** What is open already stays, but for what is over `maxConnections`: see {@link takeExcess}. */
  update(limits: ConnectionLimits): void {
    this.#limits = limits;
    this.#protected = this.#listeners.reduce(
      (sum, { connections }, index) => sum + (this.#limitsOf(index).isProtected ? connections : 0),
      0,
    );
  }

  /** Whether there are too many, those aside that are to be closed; and not all are protected. */
  get hasExcess(): boolean {
    return this.#excess > 0;
  }

  /**
   * How many are to be closed of those, `most` in number, that are not protected; what is taken has to
   * be closed.
   */
  takeExcess(most: number): number {
    const taken = Math.min(most, this.#excess);
    this.#leaving += taken;
    return taken;
  }

  get #excess(): number {
    if (this.#total === this.#protected) return 0;
    return Math.max(0, this.#total - this.#limits.maxConnections - this.#leaving);
  }

  /** Whether this connection may be closed since there are too many. */
  mayEvict(admission: Admission | null): boolean {
    return admission !== null && !this.#limitsOf(admission.listener).isProtected;
  }

  get total(): number {
    return this.#total;
  }

  /** Addresses that are remembered. */
  get addresses(): number {
    return this.#byAddress.size;
  }

  ofListener(listener: number): Counts {
    this.#listeners[listener] ??= { connections: 0, rate: new Rate() };
    return this.#listeners[listener];
  }

  #countsOf(address: string): Counts {
    let counts = this.#byAddress.get(address);
    if (counts === undefined) {
      counts = { connections: 0, rate: new Rate() };
      this.#byAddress.set(address, counts);
    }
    return counts;
  }

  #maxOf(address: string): number {
    const override = this.#limits.perIpOverrides.find(({ range }) => range.contains(address));
    return override?.maxConnections ?? this.#limits.maxConnectionsPerIp;
  }

  #limitsOf(listener: number): ListenerLimits {
    return this.#limits.listeners[listener] as ListenerLimits;
  }

  #forgetStale(now: number): void {
    for (const address of this.#stale) {
      const counts = this.#byAddress.get(address);
      if (counts?.connections === 0) {
        if (counts.rate.emptyAt > now) return;
        this.#byAddress.delete(address);
      }
      this.#stale.delete(address);
    }
  }
}
