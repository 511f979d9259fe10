// The addon under a sanitizer, in Node: builds it beside build/Release, then runs under ASan and UBSan the
// TypeScript suite and the lifetimes, under TSan the lifetimes (vitest's own machinery is not
// instrumented and full of what TSan takes for races). Further arguments go to lifetimes.mjs.
//
//   node scripts/sanitized.mjs asan|tsan [--terminations N] [--exits N] [--servers N] [--seed S]
//
// Ends with `N passed, N failed`: what is counted are tests of the suite, sanitizer reports over it,
// and the lifetimes as one.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildArguments, Sanitizer, sanitizerNames } from './sanitizer.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const [name, ...forLifetimes] = process.argv.slice(2);
let passed = 0;
let failed = 0;

function run(command, args, environment = {}) {
  console.log(`> ${command} ${args.join(' ')}`);
  const env = { ...process.env, ...environment };
  return spawnSync(command, args, { cwd: root, env, stdio: 'inherit' }).status === 0;
}

/** The behavioural suite and the Kafka clients. Lifetimes have processes of their own; see below. */
function suite() {
  const sanitizer = new Sanitizer(name);
  const report = `${root}build/test-results/ts-${name}.json`;
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const args = ['vitest', 'run', '--exclude', 'test/lifetime/**', ...reporters];
  // Everything is slower here, and the suite's time-outs are for hangs.
  const isOk = run('npx', [...args, '--testTimeout=120000'], sanitizer.environment);
  const json = JSON.parse(readFileSync(report, 'utf8'));
  passed += json.numPassedTests;
  failed += json.numFailedTests;
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
  if (run('node', ['scripts/lifetimes.mjs', '--sanitizer', name, ...forLifetimes])) passed++;
  else failed++;
} else {
  failed++;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
