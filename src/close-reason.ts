/**
 * Why a connection ended. The numbers are what the native core sends over; a test checks them
 * equal to the addon's (`native/core/close_reason.h`).
 */
export const closeReasonNumbers = {
  /** The client closed its side, and everything it had asked for was answered. */
  PEER_CLOSED: 1,
  /** The client closed its side in the middle of a frame; the part that came is dropped. */
  TRUNCATED_FRAME: 2,
  /** The client reset the connection, or was gone when a reply was written. */
  PEER_RESET: 3,
  /** Reading or writing failed with another system error: see `errno`. */
  IO_ERROR: 4,
  /** A frame's declared or running size is above `maxFrameBytes`. */
  FRAME_TOO_LARGE: 5,
  /** A frame's declared size is negative, or smaller than its own header. */
  FRAME_LENGTH_INVALID: 6,
  /** A frame breaks its framing in another way (a varint that never ends, `custom` threw). */
  FRAME_INVALID: 7,
  /** Memory for a frame or a reply was refused. */
  OUT_OF_MEMORY: 8,
  /** `onConnect` refused the connection, or failed. */
  REFUSED: 9,
  /** A handler returned `closeConnection` or `replyAndClose(...)`. */
  CLOSED_BY_HANDLER: 10,
  /** A handler failed and `onHandlerError` made no reply. */
  HANDLER_ERROR: 11,
  /** The service called `connection.close()`. */
  CLOSED_BY_SERVICE: 12,
  /** `server.close()`: everything received was answered first. */
  SERVER_CLOSED: 13,
  /** `close()` or `removeListener()` reached its deadline before this connection was done. */
  DEADLINE: 14,
  /** The loop that served this connection ended (its poller was lost). */
  REACTOR_LOST: 15,
  /** The handler thread that had a request was lost, and `onHandlerError` made no reply. */
  HANDLER_LOST: 16,
  /** A handler took longer than `handlerTimeoutMs`, and `onHandlerError` made no reply. */
  HANDLER_TIMEOUT: 17,
  /** Nothing was under way for `connectionsMaxIdleMs`. */
  IDLE_TIMEOUT: 18,
  /** A frame was not complete `frameTimeoutMs` after its first byte. */
  FRAME_TIMEOUT: 19,
  /** The client has taken nothing of what is sent for `writeTimeoutMs`. */
  WRITE_TIMEOUT: 20,
  /** There were more connections than `maxConnections`, and this one had been quiet for longest. */
  TOO_MANY_CONNECTIONS: 21,
  /** `server.removeListener()`: everything received was answered first. */
  LISTENER_REMOVED: 22,
  /** The client doesn't take what it is sent: `maxUnsentBytesPerConnection` or `maxUnsentBytes`. */
  TOO_MANY_UNSENT_BYTES: 23,
  /** A request was refused under overload, and there is no `onOverload` to answer it. */
  OVERLOADED: 24,
  /** A frame came more slowly than `minReadBytesPerSecond`. */
  READ_TOO_SLOW: 25,
  /** The client took what is sent more slowly than `minWriteBytesPerSecond`, or nothing of it. */
  WRITE_TOO_SLOW: 26,
} as const;

/** A name of {@link closeReasonNumbers}: what programs compare. */
export type CloseCode = keyof typeof closeReasonNumbers;

const codesByNumber = new Map<number, CloseCode>(
  Object.entries(closeReasonNumbers).map(([code, number]) => [number, code as CloseCode]),
);

const messages: Record<CloseCode, string> = {
  PEER_CLOSED: 'the client closed the connection',
  TRUNCATED_FRAME: 'the client closed the connection in the middle of a frame',
  PEER_RESET: 'the client reset the connection',
  IO_ERROR: 'reading or writing failed',
  FRAME_TOO_LARGE: 'a frame is larger than maxFrameBytes',
  FRAME_LENGTH_INVALID: 'a frame declares a negative or impossible length',
  FRAME_INVALID: 'a frame breaks its framing',
  OUT_OF_MEMORY: 'memory was refused',
  REFUSED: 'onConnect refused the connection',
  CLOSED_BY_HANDLER: 'the handler closed the connection',
  HANDLER_ERROR: 'the handler failed',
  CLOSED_BY_SERVICE: 'the service closed the connection',
  SERVER_CLOSED: 'the server closed',
  DEADLINE: 'the server or the listener closed before the connection was done',
  REACTOR_LOST: 'the loop that served the connection ended',
  HANDLER_LOST: 'the handler thread was lost',
  HANDLER_TIMEOUT: 'the handler took too long',
  IDLE_TIMEOUT: 'nothing was under way for connectionsMaxIdleMs',
  FRAME_TIMEOUT: 'a frame was not complete within frameTimeoutMs',
  WRITE_TIMEOUT: 'the client took nothing of what was sent for writeTimeoutMs',
  TOO_MANY_CONNECTIONS: 'there are more connections than maxConnections',
  LISTENER_REMOVED: 'the listener was removed',
  TOO_MANY_UNSENT_BYTES: 'the client owes the server too much room for what it was sent',
  OVERLOADED: 'the server is overloaded',
  READ_TOO_SLOW: 'a frame came more slowly than minReadBytesPerSecond',
  WRITE_TOO_SLOW: 'the client took what was sent more slowly than minWriteBytesPerSecond',
};

/** Why a connection ended, as `onDisconnect` and the `connectionClosed` event get it. */
export interface CloseReason {
  /** For programs. */
  readonly code: CloseCode;
  /** For people: the code in words, and what `connection.close(detail)` said. */
  readonly message: string;
  /** The system error's name (`'ECONNRESET'`), where one was behind it. */
  readonly errno?: string;
  /** Requests that were received and whose reply was not handed to the kernel. */
  readonly unanswered: number;
}

export function makeCloseReason(
  code: CloseCode,
  options: { unanswered?: number; errno?: string; detail?: string } = {},
): CloseReason {
  const message = options.detail ? `${messages[code]}: ${options.detail}` : messages[code];
  const unanswered = options.unanswered ?? 0;
  return options.errno === undefined
    ? { code, message, unanswered }
    : { code, message, unanswered, errno: options.errno };
}

export function closeCodeOf(number: number): CloseCode {
  return codesByNumber.get(number) ?? 'IO_ERROR';
}
