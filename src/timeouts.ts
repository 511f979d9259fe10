import { checkTimeout } from './check.js';

/**
 * How long a client may leave the server waiting, in milliseconds: 1 to 2147483647, or 0 for ever. The
 * clocks stop while the server itself doesn't read from the connection, or has a request of it, so a
 * slow handler or a blocked thread costs no client its connection. A connection is closed up to an
 * eighth of the shortest time-out late, never early.
 */
export interface TimeoutOptions {
  /**
   * Kafka's `connections.max.idle.ms`: nothing is under way on the connection. Default 600000, as
   * Kafka's; then it is closed in order with `IDLE_TIMEOUT`.
   */
  connectionsMaxIdleMs?: number;
  /**
   * From the first byte of a frame to its last, so that half-sent frames don't stay for ever. Default
   * 60000; then the connection is closed in order with `FRAME_TIMEOUT`. Kafka has none.
   */
  frameTimeoutMs?: number;
  /**
   * Since the client has last taken any of the bytes that wait to be sent. Default 60000; then the
   * socket is closed at once with `WRITE_TIMEOUT`, and what it has not taken is lost. Kafka has none.
   */
  writeTimeoutMs?: number;
}

export type Timeouts = Readonly<Required<TimeoutOptions>>;

export const timeoutNames = [
  'connectionsMaxIdleMs',
  'frameTimeoutMs',
  'writeTimeoutMs',
] as const satisfies readonly (keyof TimeoutOptions)[];

const defaults: Timeouts = {
  connectionsMaxIdleMs: 600_000,
  frameTimeoutMs: 60_000,
  writeTimeoutMs: 60_000,
};

/** Checks every time-out and fills in the defaults, or throws `ERR_ODRADEK_INVALID_OPTION`. */
export function checkTimeouts(options: TimeoutOptions): Timeouts {
  const check = (name: keyof TimeoutOptions): number =>
    checkTimeout(name, options[name] ?? defaults[name]);
  return {
    connectionsMaxIdleMs: check('connectionsMaxIdleMs'),
    frameTimeoutMs: check('frameTimeoutMs'),
    writeTimeoutMs: check('writeTimeoutMs'),
  };
}
