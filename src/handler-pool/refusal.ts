import type { Handler } from '../options.js';
import { overloaded } from '../reply.js';
import type { Request } from '../request.js';

/** What all threads that run handlers share; see {@link Refusal}. */
export function makeRefusalMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(16);
}

/**
 * The last step under overload: a request that would be begun is refused. Whether that is so stands in
 * memory that all threads see, and not in a message, which a busy thread would read too late.
 */
export class Refusal<State> {
  readonly #isOn: Int32Array;
  readonly #total: BigInt64Array;
  readonly #onOverload: Handler<State> | undefined;

  constructor(onOverload: Handler<State> | undefined, memory = makeRefusalMemory()) {
    this.#onOverload = onOverload;
    this.#isOn = new Int32Array(memory, 0, 1);
    this.#total = new BigInt64Array(memory, 8, 1);
  }

  set isOn(isOn: boolean) {
    Atomics.store(this.#isOn, 0, isOn ? 1 : 0);
  }

  /** Requests that any thread has refused. */
  get total(): number {
    return Number(Atomics.load(this.#total, 0));
  }

  /** Answers a request by its handler, or by what refuses it. */
  run(request: Request<State>, handler: Handler<State>): unknown {
    // Not Atomics.load(), which is a call: nothing else is read that would have to be as new.
    return this.#isOn[0] === 0 ? handler(request) : this.#refuse(request);
  }

  #refuse(request: Request<State>): unknown {
    Atomics.add(this.#total, 0, 1n);
    return this.#onOverload === undefined ? overloaded : this.#onOverload(request);
  }
}
