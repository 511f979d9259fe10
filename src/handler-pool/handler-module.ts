import { describe, OdradekError } from '../errors.js';
import type { Handler } from '../options.js';

/** What `setup` is told about the thread that it prepares. */
export interface HandlerContext<Data = unknown> {
  /** The number of the thread: from 0; a replacement has its predecessor's. */
  readonly thread: number;
  /** A copy of `handlerPool.data`. */
  readonly data: Data;
}

/**
 * What the module of a `handlerPool` exports. It is loaded once in each thread.
 *
 * ```ts
 * import type { HandlerContext, Request } from 'odradek';
 *
 * export async function setup({ data }: HandlerContext<{ table: string }>) { ... }
 * export default function handle(request: Request) { return request.body; }
 * export async function teardown() { ... }
 * ```
 */
export interface HandlerModule<State = unknown, Data = unknown> {
  /** Answers a request, as `handler` of the server would. */
  readonly default: Handler<State>;
  /** Runs once before the thread's first request. If it fails, so does `start()`. */
  readonly setup?: (context: HandlerContext<Data>) => void | PromiseLike<void>;
  /**
   * Answers a request that is refused under overload, as `onOverload` of the server would; without it the
   * request's connection is closed with `OVERLOADED`.
   */
  readonly onOverload?: Handler<State>;
  /** Runs at an orderly end of the thread, after its last request; bounded in time. */
  readonly teardown?: () => void | PromiseLike<void>;
}

/** Imports a module and checks what it exports, or throws `ERR_ODRADEK_HANDLER_MODULE`. */
export async function loadHandlerModule<State>(href: string): Promise<HandlerModule<State>> {
  let exported: Partial<Record<keyof HandlerModule, unknown>>;
  try {
    exported = await import(href);
  } catch (cause) {
    throw moduleError(`${href} can't be loaded`, cause);
  }
  const { setup, teardown, onOverload } = exported;
  const handler = functionOf(exported.default);
  if (handler === undefined) {
    throw moduleError(
      `the default export of ${href} must be a function, got ${describe(exported.default)}`,
    );
  }
  for (const [name, hook] of Object.entries({ setup, teardown, onOverload })) {
    if (hook === undefined || typeof hook === 'function') continue;
    throw moduleError(`${name} of ${href} must be a function, got ${describe(hook)}`);
  }
  return { ...exported, default: handler } as HandlerModule<State>;
}

/** What a compiler made CommonJS of has its default export one level deeper. */
function functionOf(exported: unknown): unknown {
  if (typeof exported === 'function') return exported;
  const inner = (exported as { default?: unknown } | null | undefined)?.default;
  return typeof inner === 'function' ? inner : undefined;
}

export function moduleError(detail: string, cause?: unknown): OdradekError {
  return new OdradekError(
    'ERR_ODRADEK_HANDLER_MODULE',
    detail,
    cause === undefined ? undefined : { cause },
  );
}
