import { checkCount, invalidOption } from './check.js';
import { IpRange } from './ip-address.js';

/**
 * How many connections there may be, and how many may be made in a second: Kafka's ConnectionQuotas.
 * Each is a whole number up to 2147483647, or `Infinity` for no limit.
 */
export interface ConnectionLimitOptions {
  /**
   * Kafka's `max.connections`: of all listeners together, but for the `protectedListener`. At least 1,
   * default 65536. At the limit nothing is accepted until a connection ends; where a change has left
   * too many, those that have been quiet for longest are closed with `TOO_MANY_CONNECTIONS`.
   */
  maxConnections?: number;
  /**
   * Kafka's `max.connections.per.ip`: of one address, on all listeners together. At least 0, default
   * 8192. One more is closed at once.
   */
  maxConnectionsPerIp?: number;
  /**
   * Kafka's `max.connections.per.ip.overrides`: `maxConnectionsPerIp` for the addresses of these CIDR
   * ranges, `{ '10.0.0.0/8': 50_000, '192.0.2.7': 0 }`. The narrowest range that an address is in
   * counts.
   */
  maxConnectionsPerIpOverrides?: Readonly<Record<string, number>>;
  /**
   * Kafka's `max.connection.creation.rate`: connections a second, of all listeners together, but for
   * the `protectedListener`. At least 1, default 10000; those of one second may come at once. At the
   * limit accepting waits.
   */
  maxConnectionCreationRate?: number;
  /**
   * Kafka's `connection_creation_rate` of an IP: connections a second of one address. At least 1,
   * default 5000; those of one second may come at once. What comes above it is held unread for a
   * moment, then closed.
   */
  maxConnectionCreationRatePerIp?: number;
  /**
   * As Kafka's `inter.broker.listener.name`: the name of a listener to which `maxConnections` and
   * `maxConnectionCreationRate` don't apply, so that whoever runs the service gets in when it is full.
   * What it takes above `maxConnections` the others give: see there. Default: none.
   */
  protectedListener?: string;
}

/** The limits of one listener. */
export interface ListenerLimitOptions {
  /** Kafka's `listener.name.X.max.connections`: as the server's, of this listener; default Infinity. */
  maxConnections?: number;
  /** Kafka's `listener.name.X.max.connection.creation.rate`: of this listener; default Infinity. */
  maxConnectionCreationRate?: number;
}

export interface ListenerLimits {
  readonly maxConnections: number;
  readonly maxConnectionCreationRate: number;
  readonly isProtected: boolean;
}

export interface IpOverride {
  readonly text: string;
  readonly range: IpRange;
  readonly maxConnections: number;
}

/** With every default filled in and every value checked. */
export interface ConnectionLimits {
  readonly maxConnections: number;
  readonly maxConnectionsPerIp: number;
  readonly maxConnectionCreationRate: number;
  readonly maxConnectionCreationRatePerIp: number;
  /** Overload: nothing is accepted, as at `maxConnections`. */
  readonly isStopped: boolean;
  /** The narrowest range is first. */
  readonly perIpOverrides: readonly IpOverride[];
  /** By the listener's index. */
  readonly listeners: readonly ListenerLimits[];
}

export const connectionLimitNames = [
  'maxConnections',
  'maxConnectionsPerIp',
  'maxConnectionsPerIpOverrides',
  'maxConnectionCreationRate',
  'maxConnectionCreationRatePerIp',
  'protectedListener',
] as const satisfies readonly (keyof ConnectionLimitOptions)[];

export const listenerLimitNames = [
  'maxConnections',
  'maxConnectionCreationRate',
] as const satisfies readonly (keyof ListenerLimitOptions)[];

/** A listener, by its name, and its own limits. */
export interface LimitedListener {
  readonly name: string;
  readonly maxConnections: number | undefined;
  readonly maxConnectionCreationRate: number | undefined;
}

export function pickLimits({
  maxConnections,
  maxConnectionCreationRate,
}: ListenerLimitOptions): Omit<LimitedListener, 'name'> {
  return { maxConnections, maxConnectionCreationRate };
}

/** Throws `ERR_ODRADEK_INVALID_OPTION` unless a listener has this name, or none is protected. */
export function checkProtectedListener(
  name: string | undefined,
  listeners: readonly (LimitedListener | null)[],
): void {
  const names = listeners.flatMap((listener) => (listener === null ? [] : [listener.name]));
  if (name === undefined || names.includes(name)) return;
  const known = names.map((each) => JSON.stringify(each)).join(', ');
  throw invalidOption('protectedListener', `the name of a listener (${known})`, name);
}

const noLimits: ListenerLimits = {
  maxConnections: Infinity,
  maxConnectionCreationRate: Infinity,
  isProtected: false,
};

/**
 * Checks every limit and fills in the defaults, or throws `ERR_ODRADEK_INVALID_OPTION`.
 *
 * @param listeners by number; `null` where one was removed
 */
export function checkConnectionLimits(
  options: ConnectionLimitOptions,
  listeners: readonly (LimitedListener | null)[],
): ConnectionLimits {
  const { protectedListener } = options;
  return {
    maxConnections: checkCount('maxConnections', options.maxConnections ?? 65_536, 1),
    maxConnectionsPerIp: checkCount('maxConnectionsPerIp', options.maxConnectionsPerIp ?? 8192, 0),
    maxConnectionCreationRate: checkCount(
      'maxConnectionCreationRate',
      options.maxConnectionCreationRate ?? 10_000,
      1,
    ),
    maxConnectionCreationRatePerIp: checkCount(
      'maxConnectionCreationRatePerIp',
      options.maxConnectionCreationRatePerIp ?? 5000,
      1,
    ),
    isStopped: false,
    perIpOverrides: checkOverrides(options.maxConnectionsPerIpOverrides ?? {}),
    listeners: listeners.map((listener) =>
      listener === null ? noLimits : checkListener(listener, protectedListener),
    ),
  };
}

function checkListener(
  { name, maxConnections = Infinity, maxConnectionCreationRate = Infinity }: LimitedListener,
  protectedListener: string | undefined,
): ListenerLimits {
  const check = (limit: keyof ListenerLimitOptions, value: number): number =>
    checkCount(`${limit} of listener ${JSON.stringify(name)}`, value, 1);
  return {
    maxConnections: check('maxConnections', maxConnections),
    maxConnectionCreationRate: check('maxConnectionCreationRate', maxConnectionCreationRate),
    isProtected: name === protectedListener,
  };
}

function checkOverrides(overrides: Readonly<Record<string, number>>): IpOverride[] {
  const name = 'maxConnectionsPerIpOverrides';
  if (typeof overrides !== 'object' || overrides === null || Array.isArray(overrides)) {
    throw invalidOption(name, 'an object of limits by IP address or CIDR range', overrides);
  }
  return Object.entries(overrides)
    .map(([text, maxConnections]) => {
      const range = IpRange.parse(text);
      if (range === null)
        throw invalidOption(`a name in ${name}`, 'an IP address or a range', text);
      return { text, range, maxConnections: checkCount(`${name}[${text}]`, maxConnections, 0) };
    })
    .sort((one, other) => other.range.bits - one.range.bits);
}
