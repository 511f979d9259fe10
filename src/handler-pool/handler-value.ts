import { OdradekError } from '../errors.js';

/** Whether what a handler returned is awaited. Looking for `then` may run the program's code. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    value !== null &&
    typeof value === 'object' &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}

export function alreadyAnswered(): OdradekError {
  return new OdradekError(
    'ERR_ODRADEK_ALREADY_ANSWERED',
    'the promise that the handler returned has settled twice',
  );
}
