/**
 * Bytes of one connection that its processor was given, and those of them that are known to have
 * left. Only the processor knows when: it is asked by marks, one at a time.
 */
export class Outflow {
  #given = 0;
  #left = 0;
  /** The core will say when what was given until then has left. */
  isMarked = false;
  /** So much is unsent that no further request is begun. */
  isFull = false;

  /** Of what was given, so many may not have left. */
  get unsent(): number {
    return this.#given - this.#left;
  }

  give(bytes: number): void {
    this.#given += bytes;
  }

  /** The number of the next mark. */
  get mark(): number {
    return this.#given >>> 0;
  }

  /** All that was given up to this mark has left. */
  reached(mark: number): void {
    this.#left += (mark - (this.#left >>> 0)) >>> 0;
    this.isMarked = false;
  }
}
