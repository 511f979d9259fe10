import { availableParallelism } from 'node:os';
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ResourceLimits } from 'node:worker_threads';
import { checkInteger, checkNames, checkTimeout, invalidOption } from '../check.js';
import { describe, OdradekError } from '../errors.js';
import { makeRefusalMemory } from './refusal.js';

/** Handlers on threads of their own: `handlerPool` of a server, instead of `handler`. */
export interface HandlerPoolOptions {
  /**
   * The module that each thread loads, as a `file:` URL or an absolute path: its default export is
   * the handler. See `HandlerModule`.
   */
  module: URL | string;
  /** Kafka's `num.io.threads`: 1 to 256, default the number of cores that the process may use. */
  threads?: number;
  /**
   * Which thread gets a request: `'any'` (default) that has room, or `'connection'`: always the one
   * that has the connection, for state that is kept in the thread.
   */
  affinity?: 'any' | 'connection';
  /** Requests that one thread may have begun and not answered, 1 to 65536, default 64. */
  concurrency?: number;
  /** Anything that can be cloned: `setup` of the module gets a copy in each thread. */
  data?: unknown;
  /** Of `node:worker_threads`: a thread that needs more is lost, and replaced. */
  resourceLimits?: ResourceLimits;
  /**
   * Milliseconds that a thread may take to load the module and run its `setup`, 0 (no bound) to
   * 2147483647, default 60000. One that takes longer is ended: `start()` and `resizeHandlerPool()`
   * reject with `ERR_ODRADEK_HANDLER_MODULE`, and a replacement is replaced.
   */
  startTimeoutMs?: number;
}

/** The options with every default filled in and every value checked. */
export interface HandlerPoolSettings {
  /** The module's URL. */
  readonly module: string;
  readonly threads: number;
  readonly affinity: 'any' | 'connection';
  readonly concurrency: number;
  readonly data: unknown;
  readonly resourceLimits: ResourceLimits | undefined;
  /** 0: no bound. */
  readonly startTimeoutMs: number;
  /** Of the {@link Refusal} in each thread. */
  readonly refusalMemory: SharedArrayBuffer;
}

/** More threads than any machine has cores for would be a mistake in a configuration. */
const mostHandlerThreads = 256;

const optionNames = [
  'module',
  'threads',
  'affinity',
  'concurrency',
  'data',
  'resourceLimits',
  'startTimeoutMs',
] as const satisfies readonly (keyof HandlerPoolOptions)[];

/** Long enough for a module that connects to a database, short enough to be noticed. */
const defaultStartTimeoutMs = 60_000;

const limitNames = [
  'maxOldGenerationSizeMb',
  'maxYoungGenerationSizeMb',
  'codeRangeSizeMb',
  'stackSizeMb',
] as const satisfies readonly (keyof ResourceLimits)[];

/** Checks every option and fills in the defaults, or throws `ERR_ODRADEK_INVALID_OPTION`. */
export function checkHandlerPool(options: HandlerPoolOptions): HandlerPoolSettings {
  checkNames('handlerPool', options, optionNames);
  const { threads = Math.min(availableParallelism(), mostHandlerThreads) } = options;
  const { affinity = 'any', concurrency = 64, data, resourceLimits } = options;
  const { startTimeoutMs = defaultStartTimeoutMs } = options;
  if (affinity !== 'any' && affinity !== 'connection') {
    throw invalidOption('handlerPool.affinity', "'any' or 'connection'", affinity);
  }
  return {
    module: moduleUrl(options.module),
    threads: checkInteger('handlerPool.threads', threads, 1, mostHandlerThreads),
    affinity,
    concurrency: checkInteger('handlerPool.concurrency', concurrency, 1, 65_536),
    data: checkCloneable(data),
    resourceLimits: checkLimits(resourceLimits),
    startTimeoutMs: checkTimeout('handlerPool.startTimeoutMs', startTimeoutMs),
    refusalMemory: makeRefusalMemory(),
  };
}

function moduleUrl(module: unknown): string {
  if (module instanceof URL && module.protocol === 'file:') return module.href;
  if (typeof module === 'string') {
    if (module.startsWith('file:') && URL.canParse(module)) return module;
    if (isAbsolute(module)) return pathToFileURL(module).href;
  }
  throw invalidOption('handlerPool.module', 'a file: URL or an absolute path', module);
}

function checkCloneable(data: unknown): unknown {
  try {
    return structuredClone(data);
  } catch {
    throw invalidOption('handlerPool.data', 'something that structuredClone() copies', data);
  }
}

function checkLimits(limits: ResourceLimits | undefined): ResourceLimits | undefined {
  if (limits === undefined) return undefined;
  checkNames('handlerPool.resourceLimits', limits, limitNames);
  for (const name of limitNames) {
    const value: unknown = limits[name];
    if (value === undefined || (typeof value === 'number' && value > 0)) continue;
    throw invalidOption(`handlerPool.resourceLimits.${name}`, 'a number above 0', value);
  }
  return { ...limits };
}

/** Checks the argument of `resizeHandlerPool()`. */
export function checkThreads(threads: unknown): void {
  if (Number.isInteger(threads) && Number(threads) >= 1 && Number(threads) <= mostHandlerThreads) {
    return;
  }
  throw new OdradekError(
    'ERR_ODRADEK_INVALID_ARGUMENT',
    `threads must be an integer from 1 to ${mostHandlerThreads}, got ${describe(threads)}`,
  );
}
