import { describe, type ErrorCode, errorCodes, OdradekError } from '../errors.js';

/**
 * Anything that may be thrown, in a form that `postMessage` takes. The structured clone alone would
 * lose an error's name and its own properties (`code` among them), and refuse what it can't copy.
 */
export type PackedError = PackedValue | PackedErrorObject;

interface PackedValue {
  readonly kind: 'value';
  readonly value: unknown;
}

interface PackedErrorObject {
  readonly kind: 'error';
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** The error's own properties, as far as they can be copied. */
  readonly properties: Readonly<Record<string, unknown>>;
  readonly cause: PackedError | undefined;
}

/** Causes of causes beyond this many are left behind: there may be a circle. */
const mostCauses = 8;

export function packError(error: unknown): PackedError {
  return pack(error, mostCauses);
}

function pack(error: unknown, causes: number): PackedError {
  try {
    if (error instanceof Error) return packObject(error, causes);
    return { kind: 'value', value: structuredClone(error) };
  } catch {
    // It can't be copied, or a getter of the program's threw.
    const message = describe(error);
    const stack = undefined;
    return { kind: 'error', name: 'Error', message, stack, properties: {}, cause: undefined };
  }
}

function packObject(error: Error, causes: number): PackedErrorObject {
  const properties: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(error)) {
    if (name === 'cause') continue;
    try {
      properties[name] = structuredClone(value);
    } catch {
      properties[name] = describe(value);
    }
  }
  return {
    kind: 'error',
    name: String(error.name),
    message: String(error.message),
    stack: error.stack === undefined ? undefined : String(error.stack),
    properties,
    cause: error.cause === undefined || causes === 0 ? undefined : pack(error.cause, causes - 1),
  };
}

/** The error on this side: an `OdradekError` if it was one, else an `Error` of the same looks. */
export function unpackError(packed: PackedError): unknown {
  if (packed.kind === 'value') return packed.value;
  const error = makeError(packed);
  for (const [name, value] of Object.entries(packed.properties)) define(error, name, value, true);
  if (packed.cause !== undefined) define(error, 'cause', unpackError(packed.cause), false);
  define(error, 'stack', packed.stack, false);
  return error;
}

const builtIns: Readonly<Record<string, new (message: string) => Error>> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

function makeError({ name, message, properties }: PackedErrorObject): Error {
  const { code } = properties;
  if (name === 'OdradekError' && Object.hasOwn(errorCodes, String(code))) {
    const error = new OdradekError(code as ErrorCode, '');
    // The text comes whole, with the code in front.
    define(error, 'message', message, false);
    return error;
  }
  const error = new (builtIns[name] ?? Error)(message);
  if (error.name !== name) define(error, 'name', name, false);
  return error;
}

function define(error: Error, name: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(error, name, { value, enumerable, writable: true, configurable: true });
}
