import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { poolTransports } from '../support/pool.js';

const driver = fileURLToPath(new URL('../../scripts/soak.mjs', import.meta.url));

/** The driver has bounds of its own; this one is for all of them. */
const timeout = 240_000;

/** Runs the driver for a while, and returns its last line. */
function run(transport: string): Promise<string> {
  const child = spawn(process.execPath, [driver, '--seconds=10', `--transport=${transport}`]);
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

// A short form; docs/testing.md has the long one.
describe.each(poolTransports)('a mixed soak of the handler pool (%s)', (transport) => {
  it('loses nothing, and keeps the order', { timeout }, async () => {
    expect(await run(transport)).toMatch(/, [1-9]\d* requests, .*; 0 failures$/);
  });
});
