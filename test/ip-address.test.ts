import { describe, expect, it } from 'vitest';
import { countedAddress, IpRange } from '../src/ip-address.js';

describe('countedAddress', () => {
  it('is the same for IPv4 through either kind of listener, and has no zone', () => {
    expect(countedAddress('::ffff:192.0.2.7')).toBe('192.0.2.7');
    expect(countedAddress('192.0.2.7')).toBe('192.0.2.7');
    expect(countedAddress('fe80::1%eth0')).toBe('fe80::1');
    expect(countedAddress('2001:db8::1')).toBe('2001:db8::1');
  });
});

describe('IpRange', () => {
  const contains = (range: string, address: string) => IpRange.parse(range)?.contains(address);

  it('contains what its prefix says', () => {
    expect(contains('10.1.0.0/16', '10.1.255.255')).toBe(true);
    expect(contains('10.1.0.0/16', '10.2.0.0')).toBe(false);
    expect(contains('10.1.0.0/16', '::1')).toBe(false);
    expect(contains('192.0.2.128/25', '192.0.2.127')).toBe(false);
    expect(contains('2001:db8:4000::/35', '2001:db8:5fff::1')).toBe(true);
    expect(contains('2001:db8:4000::/35', '2001:db8:6000::1')).toBe(false);
    expect(contains('127.0.0.1', '127.0.0.1')).toBe(true);
    expect(contains('127.0.0.1', '127.0.0.2')).toBe(false);
    expect(contains('0.0.0.0/0', '203.0.113.9')).toBe(true);
  });

  it('counts an IPv4 prefix as that of the mapped address', () => {
    expect(IpRange.parse('10.0.0.0/8')?.bits).toBe(104);
    expect(IpRange.parse('2001:db8::/32')?.bits).toBe(32);
    expect(IpRange.parse('::1')?.bits).toBe(128);
  });

  it.each([
    '',
    'host',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0/8',
    '::/129',
    'fe80::1%e',
  ])('is nothing of %j', (text) => {
    expect(IpRange.parse(text)).toBeNull();
  });
});
