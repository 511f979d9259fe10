/** Fewer empty places than this are not worth a new array. */
const compactFrom = 1024;

/** A queue whose `shift` takes constant time however long it is. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** The item that {@link shift} would take. */
  get first(): T | undefined {
    return this.#items[this.#head];
  }

  /** The item behind so many others. */
  at(index: number): T | undefined {
    return this.#items[this.#head + index];
  }

  /** How many items stand before this one; -1 if it isn't here. */
  indexOf(item: T): number {
    const at = this.#items.indexOf(item, this.#head);
    return at === -1 ? -1 : at - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** Puts an item before the {@link first} one. */
  unshift(item: T): void {
    if (this.#head > 0) this.#items[--this.#head] = item;
    else this.#items.unshift(item);
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.clear();
    } else if (this.#head >= compactFrom && this.#head * 2 >= this.#items.length) {
      // No more is moved down than was shifted since the last time.
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes the first item that `matches`. */
  shiftFirst(matches: (item: T) => boolean): T | undefined {
    for (let i = this.#head; i < this.#items.length; i++) {
      const item = this.#items[i] as T;
      if (!matches(item)) continue;
      if (i === this.#head) return this.shift();
      this.#items.splice(i, 1);
      return item;
    }
    return undefined;
  }

  /** Takes out, in order, every item that `matches`. */
  remove(matches: (item: T) => boolean): T[] {
    const kept: T[] = [];
    const removed: T[] = [];
    for (let i = this.#head; i < this.#items.length; i++) {
      const item = this.#items[i] as T;
      (matches(item) ? removed : kept).push(item);
    }
    this.#items = kept;
    this.#head = 0;
    return removed;
  }

  clear(): void {
    this.#items.length = 0;
    this.#head = 0;
  }
}
