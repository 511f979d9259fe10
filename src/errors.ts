/**
 * Every coded error that odradek throws or reports. Messages name what was given and what is
 * allowed; programs should compare `code` alone.
 */
export const errorCodes = {
  /**
   * An option is unknown, of the wrong type or out of range. Thrown by the constructor, and by methods
   * that take options.
   */
  ERR_ODRADEK_INVALID_OPTION: 'An option is unknown, of the wrong type or out of range',
  /** An argument of a method is of the wrong type or out of range. */
  ERR_ODRADEK_INVALID_ARGUMENT: 'An argument is of the wrong type or out of range',
  /**
   * `start()` on a server that has already been started or closed; `addListener()` and other changes
   * on one that doesn't run; `resizeNetworkThreads()` on one without network threads.
   */
  ERR_ODRADEK_INVALID_STATE: 'The call does not fit the state of the server',
  /** A listener could not be opened; `cause` has the system error (EADDRINUSE, EACCES, ...). */
  ERR_ODRADEK_LISTEN: 'A listener could not be opened',
  /** A host name could not be resolved; `cause` has the resolver's error. */
  ERR_ODRADEK_HOST: 'A host name could not be resolved',
  /**
   * A thread or its poller could not be created. `start()` has closed everything again;
   * `addListener()` and `resizeNetworkThreads()` have changed nothing.
   */
  ERR_ODRADEK_THREAD: 'A thread could not be created',
  /** `transport: 'native'` where the addon cannot be loaded; `cause` has the loader's error. */
  ERR_ODRADEK_NATIVE_UNAVAILABLE: 'The native transport is not available',
  /** A handler returned something that is not a reply. Given to `onHandlerError`. */
  ERR_ODRADEK_INVALID_REPLY: 'A handler returned something that is not a reply',
  /** A reply is larger than its framing can say. Given to `onHandlerError`. */
  ERR_ODRADEK_REPLY_TOO_LARGE: 'A reply is larger than its framing can say',
  /** A request already has its answer. */
  ERR_ODRADEK_ALREADY_ANSWERED: 'The request has already been answered',
  /** `connection.send()` on a connection that is closing, or has ended. */
  ERR_ODRADEK_CONNECTION_CLOSED: 'The connection is closed',
  /**
   * `setFraming()` at a moment at which the connection's next bytes may already be framed. With
   * `maxInFlightPerConnection` above 1 also: after a handler's first `await`, while another request
   * of the connection is in flight.
   */
  ERR_ODRADEK_SET_FRAMING: 'The framing cannot be changed at this moment',
  /**
   * The module of a `handlerPool` can't be loaded, has no handler, or its `setup` failed; `cause` has
   * the error. `start()` and `resizeHandlerPool()` reject with it.
   */
  ERR_ODRADEK_HANDLER_MODULE: 'The module of the handler pool cannot be used',
  /**
   * The handler thread that had the request crashed, ran out of memory or exited; `cause` has its
   * error, where one is known. Given to `onHandlerError`.
   */
  ERR_ODRADEK_HANDLER_LOST: 'The handler thread was lost',
  /** A handler took longer than `handlerTimeoutMs`. Given to `onHandlerError`. */
  ERR_ODRADEK_HANDLER_TIMEOUT: 'The handler took too long',
  /** The reactor lost a thread or its poller. Emitted as `fatal`. */
  ERR_ODRADEK_REACTOR_LOST: 'The reactor lost one of its loops',
  /** `odradek build` failed; `cause` has the system error, where there is one. */
  ERR_ODRADEK_BUILD: 'The native transport could not be built',
  /** `odradek build` found no node-gyp. */
  ERR_ODRADEK_NO_NODE_GYP: 'node-gyp was not found',
} as const;

/** A name of {@link errorCodes}. */
export type ErrorCode = keyof typeof errorCodes;

/** An error made by odradek: `code` is one of {@link errorCodes}, `cause` what led to it. */
export class OdradekError extends Error {
  /** What programs compare; messages may change. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, detail: string, options?: { cause?: unknown }) {
    super(`${errorCodes[code]}: ${detail}`, options);
    this.name = 'OdradekError';
    this.code = code;
  }
}

/** `value` as an error message shows it: short, and never throwing. */
export function describe(value: unknown): string {
  try {
    return describeUnsafe(value);
  } catch {
    // A getter or a proxy trap of the program's threw.
    return `a ${typeof value}`;
  }
}

function describeUnsafe(value: unknown): string {
  if (typeof value === 'string') {
    return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}...` : value);
  }
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`;
  if (value === null || typeof value !== 'object') return String(value);
  const name = Object.getPrototypeOf(value)?.constructor?.name;
  return typeof name === 'string' && name !== 'Object' ? `an instance of ${name}` : 'an object';
}

/** An error's message; a program's own getter may throw. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : describe(error);
  } catch {
    return 'an error that cannot be shown';
  }
}

/** An error's stack; a program's own getter may throw. */
export function textOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.stack ?? error.message) : describe(error);
  } catch {
    return 'an error that cannot be shown';
  }
}
