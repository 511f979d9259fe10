// A mixed soak of the handler pool: servers in processes of their own, one after the other, under
// pipelined traffic from this one, while handler threads are lost, both pools are resized and
// clients reset, half-close, stay idle or read slowly. Every request must get its reply, once, in
// its place and whole; or `onHandlerError`'s, where its thread was lost; or an end of its connection
// that something explains. Nothing may be left when a server has closed.
//
//   node scripts/soak.mjs [--minutes N | --seconds N] [--seed S] [--node PATH]
//                         [--transport native|js] [--sanitizer asan|tsan]
//
// The same seed draws the same plans. The package must be built, for a sanitizer by sanitized.mjs.
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { Random } from '../test/lifetime/random.mjs';
import { drawPlan, Phase } from '../test/soak/phase.mjs';
import { Sanitizer } from './sanitizer.mjs';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seconds: { type: 'string' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    node: { type: 'string', default: process.execPath },
    transport: { type: 'string', default: 'native' },
    sanitizer: { type: 'string' },
  },
});

/** Long enough for what builds up, short enough for many plans. */
const longestPhaseMs = 20_000;
const fewestPhases = 4;

const sanitizer = options.sanitizer === undefined ? null : new Sanitizer(options.sanitizer);
const run = {
  node: options.node,
  environment: sanitizer?.environment ?? {},
  isSanitized: sanitizer !== null,
};
const seed = Number(options.seed);
const totalMs = Number(options.seconds ?? Number(options.minutes) * 60) * 1000;
const phaseMs = Math.min(longestPhaseMs, totalMs / fewestPhases);
const sums = {};
let failures = 0;

function fail(index, text) {
  failures++;
  console.error(`FAILED (--seed ${seed}, phase ${index}) ${text}`);
}

function add(counts) {
  for (const [name, count] of Object.entries(counts)) {
    sums[name] = name === 'peakMb' ? Math.max(sums[name] ?? 0, count) : (sums[name] ?? 0) + count;
  }
}

async function runPhase(index) {
  const random = new Random(seed, index);
  const plan = drawPlan(random, options.transport);
  const { counts, mistakes } = await new Phase(run, plan, random).run(phaseMs);
  add(counts);
  console.log(`phase ${index} ${JSON.stringify(plan)}: ${JSON.stringify(counts)}`);
  for (const mistake of mistakes.slice(0, 5)) fail(index, mistake);
  for (const finding of sanitizer?.takeFindings() ?? []) fail(index, finding);
}

const version = execFileSync(run.node, ['--version']).toString().trim();
const name = `soak, ${version}, ${options.transport}, ${options.sanitizer ?? 'plain'}`;
console.log(`${name}: seed ${seed}`);
const from = performance.now();
let phases = 0;
while (performance.now() - from < totalMs && failures === 0) await runPhase(phases++);
sanitizer?.close();
const seconds = Math.round((performance.now() - from) / 1000);
const results = Object.entries(sums).map(([what, count]) => `${count} ${what}`);
console.log(
  `${name}: ${phases} phases in ${seconds} s; ${results.join(', ')}; ${failures} failures`,
);
process.exitCode = failures > 0 ? 1 : 0;
