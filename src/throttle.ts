import { describe, OdradekError } from './errors.js';

/** The longest throttle: what a timer of Node waits, and Kafka's `throttle_time_ms` can say. */
export const maxThrottleMs = 2_147_483_647;

/** Whole milliseconds, rounded up; or throws `ERR_ODRADEK_INVALID_ARGUMENT`. */
export function checkThrottle(ms: unknown): number {
  if (typeof ms === 'number' && ms >= 0 && ms <= maxThrottleMs) return Math.ceil(ms);
  throw new OdradekError(
    'ERR_ODRADEK_INVALID_ARGUMENT',
    `ms must be a number of milliseconds from 0 to ${maxThrottleMs}, got ${describe(ms)}`,
  );
}

/** A throttle says how an answered connection goes on: it comes with the answer, or before. */
export function throttledTooLate(): OdradekError {
  return new OdradekError(
    'ERR_ODRADEK_ALREADY_ANSWERED',
    'throttle() has to be called before the answer',
  );
}
