import { describe, OdradekError } from './errors.js';

/** Throws `ERR_ODRADEK_INVALID_OPTION` unless `options` is an object with `allowed` names alone. */
export function checkNames(what: string, options: object, allowed: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidOption(`the options of ${what}`, 'an object', options);
  }
  for (const name of Object.keys(options)) {
    if (allowed.includes(name)) continue;
    throw new OdradekError(
      'ERR_ODRADEK_INVALID_OPTION',
      `${what} has no option ${JSON.stringify(name)}; it has ${allowed.join(', ')}`,
    );
  }
}

/** `value`, if it is undefined or of the type. */
export function checkType<T>(name: string, value: T, type: 'boolean' | 'function'): T {
  if (value === undefined || typeof value === type) return value;
  throw invalidOption(name, `a ${type}`, value);
}

/** `value`, if it is an integer of the range. */
export function checkInteger(name: string, value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) {
    return value;
  }
  throw invalidOption(name, `an integer from ${least} to ${most}`, value);
}

/** The core's counts end here. */
const mostCounted = 2_147_483_647;

/** `value`, if it is an integer of the range, or `Infinity`, which is no limit. */
export function checkCount(
  name: string,
  value: unknown,
  least: number,
  most = mostCounted,
): number {
  const isCount = typeof value === 'number' && Number.isInteger(value);
  if (value === Infinity || (isCount && value >= least && value <= most)) return value as number;
  throw invalidOption(name, `an integer from ${least} to ${most}, or Infinity`, value);
}

/** The longest that a timer of Node waits. */
const longestTimeoutMs = 2_147_483_647;

/** `value`, if it is a whole number of milliseconds that a timer can wait, or 0. */
export function checkTimeout(name: string, value: unknown): number {
  return checkInteger(name, value, 0, longestTimeoutMs);
}

/** An error that names the option, what is allowed, and what was given. */
export function invalidOption(name: string, allowed: string, given: unknown): OdradekError {
  return new OdradekError(
    'ERR_ODRADEK_INVALID_OPTION',
    `${name} must be ${allowed}, got ${describe(given)}`,
  );
}
