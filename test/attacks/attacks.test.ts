import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { transports } from '../support/transports.js';

const driver = fileURLToPath(new URL('../../scripts/attack.mjs', import.meta.url));

/** The driver has bounds of its own; this one is for all of them. */
const timeout = 240_000;

// A short form; docs/limits.md has the long one.
describe.each(transports)('a server under attack (%s)', (transport) => {
  it('goes on serving who behaves, and is as it was before', { timeout }, async () => {
    const flags = [`--transport=${transport}`, '--scale=0.04', '--hold=2'];
    const { stdout } = await promisify(execFile)(process.execPath, [driver, ...flags]);
    expect(stdout.trim().split('\n').at(-1)).toBe(`${transport}: 6 attacks, 0 failed`);
  });
});
