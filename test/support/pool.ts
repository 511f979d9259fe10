import type { HandlerPoolOptions } from 'odradek';
import { startServer, type TestServer, type TestServerOptions } from './server.js';
import { type TransportName, transports } from './transports.js';

/** The transports that can run handlers on threads of their own. */
export const poolTransports: readonly TransportName[] = transports;

/** A module of `test/handlers`. */
export function handlers(name: string): URL {
  return new URL(`../handlers/${name}`, import.meta.url);
}

/** The first places of the memory that the threads of `commands.mjs` share with the test. */
const places = {
  setups: 0,
  teardowns: 1,
  begun: 2,
  aborted: 3,
  sent: 4,
  refusals: 5,
  hangs: 6,
} as const;

/** Behind them. */
const firstGate = 8;

/** What the threads tell of themselves, and gates that they wait for. */
export class Shared {
  readonly memory = new Int32Array(new SharedArrayBuffer(4 * 64));
  #gates = firstGate;

  count(place: keyof typeof places): number {
    return Atomics.load(this.memory, places[place]);
  }

  /** Lets the next threads fail in their setup. */
  refuse(count: number): void {
    Atomics.store(this.memory, places.refusals, count);
  }

  /** Lets the next threads hang in their setup. */
  hang(count: number): void {
    Atomics.store(this.memory, places.hangs, count);
  }

  /** A gate that is shut: commands take its number. */
  gate(): number {
    return this.#gates++;
  }

  open(gate: number): void {
    Atomics.store(this.memory, gate, 1);
    Atomics.notify(this.memory, gate);
  }

  /** Nothing stays blocked. */
  openAll(): void {
    for (let gate = firstGate; gate < this.memory.length; gate++) this.open(gate);
  }
}

type PoolOptions = Partial<Omit<HandlerPoolOptions, 'data'>> & { data?: object };

/** The options of a pool that obeys commands. */
export function commandPool(shared: Shared, options: PoolOptions = {}): HandlerPoolOptions {
  const data = { shared: shared.memory, ...options.data };
  return { module: handlers('commands.mjs'), threads: 1, ...options, data };
}

export interface StartedPool {
  readonly testServer: TestServer;
  readonly shared: Shared;
}

/** A server whose handler threads obey commands. */
export async function startPool(
  transport: TransportName,
  pool: PoolOptions = {},
  options: TestServerOptions<unknown> = {},
): Promise<StartedPool> {
  const shared = new Shared();
  const handlerPool = commandPool(shared, pool);
  return { testServer: await startServer(transport, { ...options, handlerPool }), shared };
}
