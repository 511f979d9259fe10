/** Pseudo-random numbers that a seed and an index repeat (mulberry32). */
export class Random {
  #state;

  constructor(seed, index) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0;
    for (let i = 0; i < 4; i++) this.fraction();
  }

  /** In [0, 1). */
  fraction() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer from 0 to `limit - 1`. */
  below(limit) {
    return Math.floor(this.fraction() * limit);
  }

  pick(values) {
    return values[this.below(values.length)];
  }
}
