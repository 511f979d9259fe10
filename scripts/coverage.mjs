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

const root = fileURLToPath(new URL('..', import.meta.url));
const build = `${root}native/build/coverage`;
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
  const folder = mkdtempSync(join(tmpdir(), 'odradek-coverage-'));
  const notes = filesUnder(build, '.gcno');
  run('gcov', ['--json-format', ...notes], { cwd: folder });
  const counts = new Map();
  for (const report of filesUnder(folder, '.gcov.json.gz')) {
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
  rmSync(folder, { recursive: true });
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

run('cmake', ['-S', 'native', '-B', build, '-DODRADEK_COVERAGE=ON', '-DCMAKE_BUILD_TYPE=Debug']);
run('cmake', ['--build', build, '-j', jobs]);
for (const data of filesUnder(build, '.gcda')) rmSync(data);
run('ctest', ['--test-dir', build, '-j', jobs]);
run(`${build}/sim/odradek_sim`, ['--seeds', '1000']);

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
