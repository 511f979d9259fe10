// Line coverage of the core by the native tests and the simulation together (gcc and gcov):
//
//   node scripts/coverage.mjs
//
// Prints each file's share and the lines that nothing has run. docs/testing.md says why those aren't.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { build } from './cmake.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = `${root}native/build/coverage`;
const jobs = String(availableParallelism());

function run(command, args, options = {}) {
  execFileSync(command, args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], ...options });
}

function filesUnder(folder, suffix) {
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(suffix))
    .map((name) => join(folder, name));
}

/** Lines of native/core by file: how often each ran, over all programs that were counted. */
function countLines() {
  const reports = mkdtempSync(join(tmpdir(), 'odradek-coverage-'));
  const notes = filesUnder(folder, '.gcno');
  run('gcov', ['--json-format', ...notes], { cwd: reports });
  const counts = new Map();
  for (const report of filesUnder(reports, '.gcov.json.gz')) {
    const { files } = JSON.parse(gunzipSync(readFileSync(report)).toString());
    for (const { file, lines } of files) {
      if (!/native\/core\/[^/]+$/.test(file)) continue;
      const name = basename(file);
      if (!counts.has(name)) counts.set(name, new Map());
      const known = counts.get(name);
      for (const { line_number: line, count } of lines) {
        known.set(line, (known.get(line) ?? 0) + count);
      }
    }
  }
  rmSync(reports, { recursive: true });
  return counts;
}

/** [3, 4, 5, 9] as '3-5, 9'. */
function ranges(lines) {
  const found = [];
  for (const line of lines) {
    const last = found.at(-1);
    if (last !== undefined && last[1] === line - 1) last[1] = line;
    else found.push([line, line]);
  }
  return found
    .map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`))
    .join(', ');
}

const settings = ['-DODRADEK_COVERAGE=ON', '-DCMAKE_BUILD_TYPE=Debug'];
if (!build('coverage', { settings, isQuiet: true })) process.exit(1);
for (const data of filesUnder(folder, '.gcda')) rmSync(data);
run('ctest', ['--test-dir', folder, '-j', jobs]);
run(`${folder}/sim/odradek_sim`, ['--seeds', '1000']);

let covered = 0;
let all = 0;
for (const [name, lines] of [...countLines()].sort()) {
  if (lines.size === 0) continue;
  const missed = [...lines].filter(([, count]) => count === 0).map(([line]) => line);
  missed.sort((a, b) => a - b);
  covered += lines.size - missed.length;
  all += lines.size;
  const share = ((100 * (lines.size - missed.length)) / lines.size).toFixed(1);
  const which = missed.length === 0 ? '' : `  not run: ${ranges(missed)}`;
  console.log(`${share.padStart(5)} %  ${name} (${lines.size})${which}`);
}
console.log(`${((100 * covered) / all).toFixed(1)} % of ${all} lines of native/core`);
