import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { transports } from '../support/transports.js';

const driver = fileURLToPath(new URL('../../scripts/lifetimes.mjs', import.meta.url));

/** Each case has a bound of its own; this one is for all of them. */
const timeout = 240_000;

/** Runs the driver with some of its cases, and returns its last line. */
function run(
  transport: string,
  terminations: number,
  exits: number,
  servers: number,
): Promise<string> {
  const cases = [`--terminations=${terminations}`, `--exits=${exits}`, `--servers=${servers}`];
  const child = spawn(process.execPath, [driver, `--transport=${transport}`, ...cases]);
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      if (code === 0) resolve(output.trim().split('\n').at(-1) ?? '');
      else reject(new Error(output));
    });
  });
}

// A short form; docs/testing.md has the long one. Each kind of case comes at least once.
describe.each(transports)('servers end with traffic in flight (%s)', (transport) => {
  it('with their worker', { timeout }, async () => {
    const summary = await run(transport, 22, 0, 0);
    expect(summary).toMatch(/: 22 terminations \(.*\); 0 failures$/);
  });

  it('with their process', { timeout }, async () => {
    const summary = await run(transport, 0, 26, 0);
    expect(summary).toMatch(/: 26 exits \(.*\); 0 failures$/);
  });

  it('by close() and terminate(), while clients reset', { timeout }, async () => {
    const summary = await run(transport, 0, 0, 24);
    expect(summary).toMatch(/: 24 servers \(.*\); \d+ replies and \d+ resets there; 0 failures$/);
  });
});
