import { checkInteger, checkTimeout } from './check.js';
import type { CloseCode } from './close-reason.js';

/**
 * How long a client may leave the server waiting, in milliseconds: 1 to 2147483647, or 0 for ever; and how
 * slow it may be. The clocks stop while the server itself doesn't read from the connection, or has a
 * request of it, so a slow handler or a blocked thread costs no client its connection. A connection is
 * closed up to an eighth of the shortest time-out late, never early.
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
  /**
   * The fewest bytes a second of a frame: 1 to 2147483647, default 0: any. From its first byte on a frame
   * has `minThroughputGraceMs` and the time that the bytes which have come may take at this rate, and never
   * more than `frameTimeoutMs`; then the connection is closed in order with `READ_TOO_SLOW`. Kestrel's
   * `MinRequestBodyDataRate`, reckoned as `MinRate` of Apache's `mod_reqtimeout`.
   */
  minReadBytesPerSecond?: number;
  /**
   * The fewest bytes a second that a client takes while some have to wait for it: 1 to 2147483647, default
   * 0: any. It may be `minThroughputGraceMs` behind (or `writeTimeoutMs`, where that is shorter), and is never
   * ahead for what it took faster; then the socket is closed at once with `WRITE_TOO_SLOW`, and what it has
   * not taken is lost. So is that of one which takes nothing: with a rate there is no `WRITE_TIMEOUT`. Kestrel's
   * `MinResponseDataRate`.
   */
  minWriteBytesPerSecond?: number;
  /**
   * Kestrel's `gracePeriod`: how long a client may take to reach `minReadBytesPerSecond` and
   * `minWriteBytesPerSecond`, in milliseconds: 1 to 2147483647, default 5000, as Kestrel's.
   */
  minThroughputGraceMs?: number;
}

export type Timeouts = Readonly<Required<TimeoutOptions>>;

const defaults: Timeouts = {
  connectionsMaxIdleMs: 600_000,
  frameTimeoutMs: 60_000,
  writeTimeoutMs: 60_000,
  minReadBytesPerSecond: 0,
  minWriteBytesPerSecond: 0,
  minThroughputGraceMs: 5000,
};

export const timeoutNames = Object.keys(defaults) as (keyof TimeoutOptions)[];

/** Checks every time-out and fills in the defaults, or throws `ERR_ODRADEK_INVALID_OPTION`. */
export function checkTimeouts(options: TimeoutOptions): Timeouts {
  const given = (name: keyof TimeoutOptions): number => options[name] ?? defaults[name];
  const timeout = (name: keyof TimeoutOptions): number => checkTimeout(name, given(name));
  const count = (name: keyof TimeoutOptions, least: number): number =>
    checkInteger(name, given(name), least, 2_147_483_647);
  return {
    connectionsMaxIdleMs: timeout('connectionsMaxIdleMs'),
    frameTimeoutMs: timeout('frameTimeoutMs'),
    writeTimeoutMs: timeout('writeTimeoutMs'),
    minReadBytesPerSecond: count('minReadBytesPerSecond', 0),
    minWriteBytesPerSecond: count('minWriteBytesPerSecond', 0),
    minThroughputGraceMs: count('minThroughputGraceMs', 1),
  };
}

/** For how long a client is waited for, and why the connection is closed then. */
export interface Wait {
  /** 0: for ever. */
  readonly ms: number;
  readonly code: CloseCode;
}

/** Milliseconds; `Infinity`: there are none. */
export function shortestTimeout(timeouts: Timeouts): number {
  const { connectionsMaxIdleMs, frameTimeoutMs, writeTimeoutMs, minThroughputGraceMs } = timeouts;
  const hasRate = timeouts.minReadBytesPerSecond > 0 || timeouts.minWriteBytesPerSecond > 0;
  const graceMs = hasRate ? minThroughputGraceMs : 0;
  const inUse = [connectionsMaxIdleMs, frameTimeoutMs, writeTimeoutMs, graceMs];
  return Math.min(...inUse.filter((ms) => ms > 0));
}

export function waitForRequest({ connectionsMaxIdleMs }: Timeouts): Wait {
  return { ms: connectionsMaxIdleMs, code: 'IDLE_TIMEOUT' };
}

/**
 * @param bytes of the frame that are here
 * @param unreadMs for how long nobody was there to read more of it
 */
export function waitForRestOfFrame(timeouts: Timeouts, bytes: number, unreadMs: number): Wait {
  const { frameTimeoutMs, minReadBytesPerSecond } = timeouts;
  const whole: Wait = { ms: frameTimeoutMs, code: 'FRAME_TIMEOUT' };
  if (minReadBytesPerSecond === 0) return whole;
  const ms = timeouts.minThroughputGraceMs + worthMs(bytes, minReadBytesPerSecond) + unreadMs;
  return frameTimeoutMs > 0 && frameTimeoutMs <= ms ? whole : { ms, code: 'READ_TOO_SLOW' };
}

/** Since the moment up to which it has paid: at a rate, who takes nothing is too slow, too. */
export function waitForRoom(timeouts: Timeouts): Wait {
  const { writeTimeoutMs, minThroughputGraceMs, minWriteBytesPerSecond } = timeouts;
  if (minWriteBytesPerSecond === 0) return { ms: writeTimeoutMs, code: 'WRITE_TIMEOUT' };
  const isShorter = writeTimeoutMs > 0 && writeTimeoutMs < minThroughputGraceMs;
  return { ms: isShorter ? writeTimeoutMs : minThroughputGraceMs, code: 'WRITE_TOO_SLOW' };
}

/** The time for which these bytes are enough. */
export function worthMs(bytes: number, bytesPerSecond: number): number {
  return (bytes * 1000) / bytesPerSecond;
}
