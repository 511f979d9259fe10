// npm test: the native tests by CMake and CTest, then the TypeScript suites by vitest. Ends with
// one line over all of them: `N passed, N failed, N skipped`.
//
//   node scripts/test.mjs                    native, sim and ts
//   node scripts/test.mjs native sim ts asan tsan    those named; sim is the seeded simulation, the
//                                            last two are the native tests under ASan and UBSan,
//                                            and under TSan
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { build } from './cmake.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const results = `${root}build/test-results`;
const wanted = process.argv.length > 2 ? process.argv.slice(2) : ['native', 'sim', 'ts'];
const jobs = String(availableParallelism());
const total = { passed: 0, failed: 0, skipped: 0 };
let isBroken = false;

function run(command, args) {
  console.log(`> ${command} ${args.join(' ')}`);
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  return status === 0;
}

/** Adds what one runner counted. A runner that counted nothing has not run: that is a failure. */
function add(name, isOk, counts) {
  const count = counts.passed + counts.failed + counts.skipped;
  if (count === 0 || (!isOk && counts.failed === 0)) {
    console.error(`${name}: did not run to its end`);
    isBroken = true;
  }
  for (const key of Object.keys(total)) total[key] += counts[key];
}

/** The native tests, built in a folder of their own with further CMake settings. */
function native(name, ...settings) {
  const folder = `native/build/${name}`;
  const report = `${results}/${name}.xml`;
  if (!build(name, { settings })) {
    isBroken = true;
    return;
  }
  const args = ['--test-dir', folder, '-j', jobs, '--output-on-failure', '--progress'];
  const isOk = run('ctest', [...args, '--output-junit', report]);
  const [, suite = ''] = /<testsuite ([^>]*)>/s.exec(readFileSync(report, 'utf8')) ?? [];
  const count = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = count('failures');
  const skipped = count('skipped') + count('disabled');
  add(`ctest (${name})`, isOk, { passed: count('tests') - failed - skipped, failed, skipped });
}

/** The seeded simulation: two long runs at a time, whose counts of faults are worth reading. */
async function simulation() {
  const half = 5000;
  let isOk = build('plain', { target: 'odradek_sim' });
  if (isOk) {
    const runs = await Promise.all([1, 1 + half].map((first) => simulate(first, half)));
    isOk = runs.every(Boolean);
  }
  add('simulation', isOk, { passed: Number(isOk), failed: Number(!isOk), skipped: 0 });
}

function simulate(first, seeds) {
  const args = ['--seeds', String(seeds), '--first', String(first)];
  console.log(`> native/build/plain/sim/odradek_sim ${args.join(' ')}`);
  const child = spawn('native/build/plain/sim/odradek_sim', args, { cwd: root });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      output += text;
    });
  }
  return new Promise((resolve) => {
    child.on('error', (error) => {
      output += `${error.message}\n`;
    });
    child.on('close', (code) => {
      process.stdout.write(output);
      resolve(code === 0);
    });
  });
}

function typescript() {
  const report = `${results}/ts.json`;
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const isOk = run('npx', ['vitest', 'run', ...reporters]);
  const json = JSON.parse(readFileSync(report, 'utf8'));
  add('vitest', isOk, {
    passed: json.numPassedTests,
    failed: json.numFailedTests,
    skipped: json.numPendingTests + json.numTodoTests,
  });
}

mkdirSync(results, { recursive: true });
const suites = {
  native: () => native('plain'),
  sim: simulation,
  ts: typescript,
  asan: () => native('asan', '-DODRADEK_SANITIZE=address,undefined'),
  tsan: () => native('tsan', '-DODRADEK_SANITIZE=thread'),
};
for (const name of wanted) {
  try {
    await suites[name]();
  } catch (error) {
    // No report: the runner died.
    console.error(`${name}: ${error.message}`);
    isBroken = true;
  }
}
if (isBroken && total.failed === 0) total.failed = 1;
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 ? 1 : 0;
