/** A channel, as far as it owes bytes that its client doesn't take. */
export interface Debtor {
  /** Bytes given to it that are not with the kernel. */
  readonly unsent: number;
  /** Closes it at this moment: what it owes is lost. */
  shed(): void;
}

/**
 * How many bytes were given to clients that have not taken them. Where there are too many, those
 * who owe most are closed: a client that takes what it asked for owes little.
 */
export class UnsentBytes {
  total = 0;
  shedTotal = 0;
  #most: number;
  readonly #debtors: Iterable<Debtor>;

  constructor(most: number, debtors: Iterable<Debtor>) {
    this.#most = most;
    this.#debtors = debtors;
  }

  /** From now on there may be so many. */
  resize(most: number): void {
    this.#most = most;
    this.shed();
  }

  /** Closes as many as it takes. */
  shed(): void {
    if (this.total <= this.#most) return;
    const debtors = [...this.#debtors].map((debtor) => ({ debtor, unsent: debtor.unsent }));
    debtors.sort((one, other) => other.unsent - one.unsent);
    for (const { debtor } of debtors) {
      if (this.total <= this.#most) return;
      this.shedTotal++;
      debtor.shed();
    }
  }
}
