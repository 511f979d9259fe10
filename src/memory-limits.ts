import { checkCount } from './check.js';

/** How much memory the server gives to requests, and to replies that nobody takes. */
export interface MemoryLimitOptions {
  /**
   * Kafka's `queued.max.request.bytes` (off there): bytes of requests that the server has in its hands:
   * received in part or in whole, queued, or with a handler, and not yet answered. 1 to 2^40, default
   * 134217728; `Infinity` for no limit. With nothing left connections are not read until requests are
   * answered, longest waiting first; of the frames that are there in part one at a time goes on, so that
   * at most this and one frame's largest size are in use.
   */
  queuedMaxRequestBytes?: number;
  /**
   * Bytes of replies and pushes that the server holds since its clients don't take them. 1 to 2^40, default
   * 268435456; `Infinity` for no limit. Where there are more, those connections that owe most are closed at
   * once with `TOO_MANY_UNSENT_BYTES` until there aren't. Kafka has no such limit.
   */
  maxUnsentBytes?: number;
}

export type MemoryLimits = Readonly<Required<MemoryLimitOptions>>;

export const memoryLimitNames = [
  'queuedMaxRequestBytes',
  'maxUnsentBytes',
] as const satisfies readonly (keyof MemoryLimitOptions)[];

const most = 2 ** 40;

/** Fills in the defaults, or throws `ERR_ODRADEK_INVALID_OPTION`. */
export function checkMemoryLimits({
  queuedMaxRequestBytes = 134_217_728,
  maxUnsentBytes = 268_435_456,
}: MemoryLimitOptions): MemoryLimits {
  return {
    queuedMaxRequestBytes: checkCount('queuedMaxRequestBytes', queuedMaxRequestBytes, 1, most),
    maxUnsentBytes: checkCount('maxUnsentBytes', maxUnsentBytes, 1, most),
  };
}
