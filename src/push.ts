import { describe, OdradekError } from './errors.js';
import { isBytes } from './reply.js';

/** Throws `ERR_ODRADEK_INVALID_ARGUMENT` unless these are bytes, or parts of them. */
export function checkPush(bytes: unknown): void {
  if (isBytes(bytes)) return;
  throw new OdradekError(
    'ERR_ODRADEK_INVALID_ARGUMENT',
    `expected a Uint8Array or an array of them, got ${describe(bytes)}`,
  );
}

export function pushedTooLate(): OdradekError {
  return new OdradekError(
    'ERR_ODRADEK_CONNECTION_CLOSED',
    'nothing is sent any more on a connection that is closing or has ended',
  );
}
