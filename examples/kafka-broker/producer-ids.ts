/** Ids are reserved on disk so many at a time: after a restart no id is given out again. */
const block = 1000;

/** Gives every idempotent producer an id of its own, for ever. */
export class ProducerIds {
  readonly #reserve: (firstFree: number) => Promise<void>;
  #next: number;
  #reserved: number;
  #reserving: Promise<void> | null = null;

  /** @param reserve writes down the first id that nobody has; what it wrote last is `firstFree` */
  constructor(firstFree: number, reserve: (firstFree: number) => Promise<void>) {
    this.#next = firstFree;
    this.#reserved = firstFree;
    this.#reserve = reserve;
  }

  async next(): Promise<number> {
    while (this.#next >= this.#reserved) {
      const reserved = this.#reserved + block;
      this.#reserving ??= this.#reserve(reserved)
        .then(() => {
          this.#reserved = reserved;
        })
        .finally(() => {
          this.#reserving = null;
        });
      await this.#reserving;
    }
    return this.#next++;
  }
}
