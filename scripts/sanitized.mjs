// The addon under a sanitizer, in Node: builds it beside build/Release; then runs under ASan and
// UBSan the TypeScript suite, the lifetimes and the soak, under TSan the last two alone (V8 and
// vitest's bundler are not instrumented, and what TSan takes for races there would be the whole
// report).
//
//   node scripts/sanitized.mjs asan|tsan [what lifetimes.mjs takes] [--soak N]
//
// The soak takes N seconds, by default 20. Ends with `N passed, N failed, N skipped` over the tests
// of the suite, what the sanitizer reported over them, and the lifetimes and the soak as one each.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildArguments, Sanitizer, sanitizerNames } from './sanitizer.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const [name, ...forLifetimes] = process.argv.slice(2);
const soakAt = forLifetimes.indexOf('--soak');
const soakSeconds = soakAt < 0 ? '20' : forLifetimes.splice(soakAt, 2)[1];
/** Tests whose programs run here by themselves, and for longer. */
const ownProcesses = ['test/lifetime/**', 'test/soak/**'];
/** Tests that take long, of programs that have nothing to do with the addon's memory. */
const withoutAddon = ['test/bench/**', 'test/prebuilds.test.ts', 'test/cli.test.ts'];
let passed = 0;
let failed = 0;
let skipped = 0;

function run(command, args, environment = {}) {
  console.log(`> ${command} ${args.join(' ')}`);
  const env = { ...process.env, ...environment };
  return spawnSync(command, args, { cwd: root, env, stdio: 'inherit' }).status === 0;
}

/**
 * The behavioural suite and the Kafka clients, on the native transport; lifetimes and the soak have processes of their own.
 * In threads, since vitest kills its processes when they are done, and a killed process checks no leaks.
 */
function suite() {
  const sanitizer = new Sanitizer(name);
  mkdirSync(`${root}build/test-results`, { recursive: true });
  const report = `${root}build/test-results/ts-${name}.json`;
  rmSync(report, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  // One at a time: everything takes its time here, and what bounds it is the clock's.
  const excluded = [...ownProcesses, ...withoutAddon].flatMap((path) => ['--exclude', path]);
  const args = ['vitest', 'run', '--pool=threads', '--maxWorkers=1', ...excluded, ...reporters];
  // Everything is slower here, and the suite's time-outs are for hangs.
  const environment = { ...sanitizer.environment, ODRADEK_TEST_TRANSPORT: 'native' };
  const isOk = run('npx', [...args, '--testTimeout=120000'], environment);
  const json = JSON.parse(readFileSync(report, 'utf8'));
  passed += json.numPassedTests;
  failed += json.numFailedTests;
  skipped += json.numPendingTests + json.numTodoTests;
  if (!isOk && json.numFailedTests === 0) failed++;
  const findings = sanitizer.takeFindings();
  for (const finding of findings) console.error(finding);
  failed += findings.length;
  sanitizer.close();
}

if (!sanitizerNames.includes(name)) {
  console.error(`say which: ${sanitizerNames.join(' or ')}`);
  process.exit(2);
}
if (run('npx', buildArguments(name))) {
  if (name === 'asan') suite();
  const processes = [
    ['scripts/lifetimes.mjs', '--sanitizer', name, ...forLifetimes],
    ['scripts/soak.mjs', '--sanitizer', name, '--seconds', soakSeconds],
  ];
  for (const args of processes) {
    if (run('node', args)) passed++;
    else failed++;
  }
} else {
  failed++;
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 ? 1 : 0;
