import { checkCount, checkNames, invalidOption } from './check.js';

/**
 * What is done under overload, and from when on: milliseconds that the longest waiting must have
 * waited, 1 to 2147483647, or `Infinity`: not at all. What counts is the longest time that a request
 * waits in the request queue now, or a connection for room there (`queuedMaxRequests`) or for memory
 * (`queuedMaxRequestBytes`). How full they are doesn't: full, and quickly emptied, is what they are for.
 * Those that are not `Infinity` must not descend. A look once a second decides, and the wait must have
 * been as long at the look before, too; a step ends with the first look that finds it shorter.
 */
export interface OverloadOptions {
  /**
   * `connectionsMaxIdleMs`, `frameTimeoutMs` and `writeTimeoutMs` are a tenth of what they are. Default
   * 2000: longer than a pause of a garbage collector or a burst's queue lasts.
   */
  shortenTimeoutsMs?: number;
  /**
   * Nothing more is accepted but by the `protectedListener`, as with `maxConnections` at the limit.
   * Default 10000: new clients would wait as long, and many give up before.
   */
  stopAcceptingMs?: number;
  /**
   * A request that would be begun is refused: by the reply that `onOverload` makes, or its connection is
   * closed with `OVERLOADED`. Default 60000: longer than most clients wait for an answer.
   */
  refuseRequestsMs?: number;
}

export type OverloadLimits = Readonly<Required<OverloadOptions>>;

/** In the order in which they come. */
export const overloadOptionNames = [
  'shortenTimeoutsMs',
  'stopAcceptingMs',
  'refuseRequestsMs',
] as const satisfies readonly (keyof OverloadOptions)[];

const defaults: OverloadLimits = {
  shortenTimeoutsMs: 2000,
  stopAcceptingMs: 10_000,
  refuseRequestsMs: 60_000,
};

/** Fills in the defaults, or throws `ERR_ODRADEK_INVALID_OPTION`. */
export function checkOverload(options: OverloadOptions = {}): OverloadLimits {
  checkNames('overload', options, overloadOptionNames);
  const check = (name: keyof OverloadOptions): number =>
    checkCount(`overload.${name}`, options[name] ?? defaults[name], 1);
  const limits = {
    shortenTimeoutsMs: check('shortenTimeoutsMs'),
    stopAcceptingMs: check('stopAcceptingMs'),
    refuseRequestsMs: check('refuseRequestsMs'),
  };
  let least = 0;
  for (const name of overloadOptionNames) {
    if (limits[name] === Infinity) continue;
    if (limits[name] < least) {
      const allowed = `at least ${least}, as the step before it has`;
      throw invalidOption(`overload.${name}`, allowed, limits[name]);
    }
    least = limits[name];
  }
  return limits;
}
