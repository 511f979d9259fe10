/** How long a test waits for something that must happen: far longer than it ever takes. */
export const patienceMs = 10_000;

/** `promise`, or an error that says what did not come in time. */
export async function within<T>(promise: Promise<T>, what: string, ms = patienceMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Waits until a count that grows is reached: many take their time, so patience is for each of them. */
export async function reaches(read: () => number, count: number, what: string): Promise<void> {
  for (let last = read(); last < count; last = read()) {
    const reached = last;
    await until(() => read() > reached, `${what}, more than ${reached} of ${count}`);
  }
}

/** Waits until a number has not changed for a while: what was under way has arrived. */
export async function settles(read: () => number): Promise<void> {
  let last = read();
  let since = performance.now();
  await until(() => {
    const now = read();
    if (now !== last) since = performance.now();
    last = now;
    return performance.now() - since > 100;
  }, 'rest');
}

/** The rest of this turn of the event loop, and what it has already scheduled. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A promise with its ends in hand. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

export function defer<T = void>(): Deferred<T> {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<T>((resolve_, reject_) => {
    resolve = resolve_;
    reject = reject_;
  });
  return { promise, resolve, reject };
}

/** Values in the order in which they came; `next` waits for the one that nobody has taken. */
export class Inbox<T> {
  /** All that ever came. */
  readonly all: T[] = [];
  readonly #what: string;
  #taken = 0;
  #wake: (() => void) | null = null;

  constructor(what: string) {
    this.#what = what;
  }

  readonly push = (value: T): void => {
    this.all.push(value);
    this.#wake?.();
  };

  async next(): Promise<T> {
    if (this.#taken === this.all.length) {
      const came = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await within(came, this.#what);
    }
    return this.all[this.#taken++] as T;
  }
}
