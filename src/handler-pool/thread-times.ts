import { HandlerTimes } from '../request-times.js';

/** What the threads of a pool record: each in memory of its own, which this thread reads. */
export class ThreadTimes {
  /** Of threads that are gone. */
  readonly #past = new HandlerTimes();
  readonly #present = new Map<SharedArrayBuffer, HandlerTimes>();

  /** A thread begins: the memory for its {@link HandlerTimes}. */
  begin(): SharedArrayBuffer {
    const memory = new SharedArrayBuffer(HandlerTimes.bytes);
    this.#present.set(memory, new HandlerTimes(memory));
    return memory;
  }

  /** The thread has ended. */
  end(memory: SharedArrayBuffer): void {
    const times = this.#present.get(memory);
    if (times === undefined) return;
    this.#present.delete(memory);
    this.#past.add(times);
  }

  addTo(sum: HandlerTimes): void {
    sum.add(this.#past);
    for (const times of this.#present.values()) sum.add(times);
  }
}
