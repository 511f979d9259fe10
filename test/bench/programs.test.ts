// The programs of bench/ beside the runner: that they run, and say what they are there to say.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { patienceMs } from '../support/wait.js';
import { isLinux } from './support.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function run(program: string, ...args: string[]): Promise<string> {
  const path = `${root}bench/${program}`;
  const { stdout } = await promisify(execFile)(process.execPath, [path, ...args]);
  return stdout;
}

describe.skipIf(!isLinux)('a program beside the runner', { timeout: 6 * patienceMs }, () => {
  it.each(['sync', 'async'])('says what a request costs in JavaScript (%s)', async (mode) => {
    expect(await run('crossing.mjs', mode, '4', '4', '2')).toMatch(
      new RegExp(`^${mode}, 4x4: [1-9]\\d* ns of CPU a request\\n$`),
    );
  });

  it('compares two servers', async () => {
    const flags = ['--shape', '2x2', '--launches', '1', '--windows', '1', '--warm-up', '0.1'];
    const output = await run('compare.mjs', ...flags, '{"transport":"js"}', '{}');
    const rows = output.split('\n').filter((line) => line.startsWith('| `'));
    const cells = rows.map((row) => row.split('|').slice(1, -1));
    expect(cells.map(([name]) => name?.trim())).toEqual(['`{"transport":"js"}`', '`{}`']);
    const isNumber = (cell: string) => /^ [1-9][\d,.]*( k)? $|^ 0\.\d+ $/.test(cell);
    // The second one's two ratios stand beside its numbers.
    expect(cells.map((row) => row.filter(isNumber).length)).toEqual([3, 5]);
  });
});
