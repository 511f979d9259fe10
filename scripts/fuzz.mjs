// The fuzz targets of native/fuzz, built with clang under ASan and UBSan:
//
//   node scripts/fuzz.mjs replay               each runs over its corpus, then a bounded number of
//                                              inputs of its own
//   node scripts/fuzz.mjs long --minutes 20    each runs that long; what is new stays in
//                                              native/build/fuzz-corpus
//   node scripts/fuzz.mjs merge                the least of that which covers as much is added to
//                                              native/fuzz/corpus
//
// Names of targets at the end restrict it to those. Fails on every finding; the input that shows it
// is in native/build/fuzz-findings.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from './cmake.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const scratch = `${root}native/build/fuzz-scratch/`;
const found = `${root}native/build/fuzz-findings/`;
// Longest input, and inputs that a replay adds to the corpus: a few seconds each.
const targets = {
  length: { maxLen: 4096, runs: 100_000 },
  varint: { maxLen: 4096, runs: 100_000 },
  delimiter: { maxLen: 4096, runs: 100_000 },
  raw: { maxLen: 4096, runs: 100_000 },
  receive: { maxLen: 4096, runs: 10_000 },
  connection: { maxLen: 1024, runs: 3_000 },
};

const { values, positionals } = parseArgs({
  options: { minutes: { type: 'string', default: '20' } },
  allowPositionals: true,
});
const [mode, ...named] = positionals;
const names = named.length > 0 ? named : Object.keys(targets);
const seconds = Number(values.minutes) * 60;
const isKnown = ['replay', 'long', 'merge'].includes(mode);
if (!isKnown || !names.every((name) => name in targets) || !(seconds > 0)) {
  console.error('usage: node scripts/fuzz.mjs replay | long [--minutes N] | merge  [target...]');
  process.exit(2);
}

function emptied(folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Runs one target; true if it found nothing. Prints its counts, or all that it said. */
function fuzz(name, args) {
  const { maxLen } = targets[name];
  const binary = `${root}native/build/fuzz/fuzz/${name}_fuzz`;
  const common = [`-max_len=${maxLen}`, `-artifact_prefix=${found}${name}-`];
  const { status, stderr } = spawnSync(binary, [...common, '-print_final_stats=1', ...args], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const executions = /number_of_executed_units: (\d+)/.exec(stderr)?.[1];
  const coverage = [...stderr.matchAll(/cov: (\d+) ft: (\d+)/g)].at(-1);
  const isOk = status === 0;
  if (!isOk) console.error(stderr.slice(-10_000));
  const result = isOk ? 'no finding' : `failed (its input is in ${found})`;
  const counts = `${executions} executions, ${coverage?.[1]} edges, ${coverage?.[2]} features`;
  console.log(`${name}: ${counts}, ${result}`);
  return isOk;
}

const settings = ['-DCMAKE_CXX_COMPILER=clang++', '-DODRADEK_FUZZ=ON', '-DODRADEK_TESTS=OFF'];
settings.push('-DODRADEK_SANITIZE=address,undefined');
if (!build('fuzz', { settings })) process.exit(1);
mkdirSync(found, { recursive: true });
let isClean = true;
for (const name of names) {
  const corpus = `${root}native/fuzz/corpus/${name}`;
  const grown = `${root}native/build/fuzz-corpus/${name}`;
  if (!existsSync(corpus)) {
    console.error(`${name}: has no corpus in native/fuzz/corpus`);
    isClean = false;
    continue;
  }
  mkdirSync(grown, { recursive: true });
  const args = {
    // What is new goes into the first folder: here nobody wants it.
    replay: () => ['-seed=1', `-runs=${targets[name].runs}`, emptied(`${scratch}${name}`), corpus],
    long: () => [`-max_total_time=${seconds}`, grown, corpus],
    merge: () => ['-set_cover_merge=1', corpus, grown],
  };
  if (!fuzz(name, args[mode]())) isClean = false;
}
process.exitCode = isClean ? 0 : 1;
