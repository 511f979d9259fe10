import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { OdradekError } from './errors.js';

/** The address of a host name, or `ERR_ODRADEK_HOST`. */
export async function resolveHost(host: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch (cause) {
    throw new OdradekError('ERR_ODRADEK_HOST', JSON.stringify(host), { cause });
  }
}
