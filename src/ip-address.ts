import { BlockList, isIP, isIPv6 } from 'node:net';

/** An address as it is counted: IPv4 the same whichever kind of listener it came through, no zone. */
export function countedAddress(address: string): string {
  const bare = address.split('%', 1)[0] as string;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare);
  return mapped?.[1] ?? bare;
}

/** A CIDR range, or one address. */
export class IpRange {
  /** The number of leading bits that are the same in all of it, counted as IPv6's (IPv4's and 96). */
  readonly bits: number;
  readonly #addresses = new BlockList();

  private constructor(address: string, prefix: number) {
    const isV6 = isIPv6(address);
    this.bits = isV6 ? prefix : prefix + 96;
    this.#addresses.addSubnet(address, prefix, isV6 ? 'ipv6' : 'ipv4');
  }

  /** `'10.0.0.0/8'`, `'2001:db8::/32'` or an address; `null` where it is neither. */
  static parse(text: string): IpRange | null {
    const [address = '', prefix, ...rest] = text.split('/');
    const version = isIP(address);
    if (version === 0 || address.includes('%') || rest.length > 0) return null;
    const most = version === 6 ? 128 : 32;
    if (prefix === undefined) return new IpRange(address, most);
    if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > most) return null;
    return new IpRange(address, Number(prefix));
  }

  /** @param address one of {@link countedAddress} */
  contains(address: string): boolean {
    return this.#addresses.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  }
}
