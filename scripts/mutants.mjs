// Plants the defects of native/sim/mutants.json into the core, one at a time, and shows that the
// simulation catches each of them, and by which check:
//
//   node scripts/mutants.mjs [names...]
//
// A mutant is a replacement in one source file of native/core; the sources stay as they are. One
// that no longer applies is a failure. Ends with `N passed, N failed`.
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { build } from './cmake.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const libraries = `${root}native/build/plain`;
const folder = `${root}native/build/mutants`;
const compiler = process.env.CXX ?? 'c++';
/** Seeds that a mutant may survive: the rarest was seen in one of seven thousand. */
const seeds = 20_000;

const names = process.argv.slice(2);
const all = JSON.parse(readFileSync(`${root}native/sim/mutants.json`, 'utf8'));
const mutants = all.filter(({ name }) => names.length === 0 || names.includes(name));

/** Runs a command; resolves to its exit code and output. */
function run(command, args) {
  return new Promise((resolve) => {
    execFile(command, args, { maxBuffer: 1 << 28, timeout: 600_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? 'killed'), text: stdout + stderr });
    });
  });
}

/** The mutated program, or why there is none. */
async function compile({ name, file, from, to }) {
  const source = readFileSync(`${root}native/core/${file}`, 'utf8');
  if (source.split(from).length !== 2) return { failure: `${file} doesn't have its text once` };
  const mutated = `${folder}/${name}.cc`;
  writeFileSync(
    mutated,
    source.replace(from, () => to),
  );
  const program = `${folder}/${name}`;
  const { code, text } = await run(compiler, [
    ...['-std=c++20', '-O1', '-fno-exceptions', '-fno-rtti', `-I${root}native/core`, mutated],
    // The mutated file comes first: the library's own copy of it isn't taken.
    ...[`${libraries}/sim/libodradek_simulation.a`, `${libraries}/libodradek_core.a`],
    ...['-pthread', '-o', program],
  ]);
  return code === 0 ? { program } : { failure: `doesn't compile:\n${text}` };
}

/** Whether the mutant is caught as it should be, and a line that says how. */
async function examine(mutant) {
  const { program, failure } = await compile(mutant);
  if (failure !== undefined) return { isCaught: false, how: failure };
  const { code, text } = await run(program, ['--seeds', String(seeds)]);
  const found = /^seed (\d+): ([\w-]+): /m.exec(text);
  if (found === null) return { isCaught: false, how: `survived ${seeds} seeds (exit ${code})` };
  const [, seed, check] = found;
  const isCaught = mutant.checks.includes(check);
  const how = isCaught ? '' : `, expected ${mutant.checks.join(' or ')}`;
  return { isCaught, how: `${check} at seed ${seed}${how}` };
}

mkdirSync(folder, { recursive: true });
if (!build('plain', { target: 'odradek_sim', isQuiet: true })) process.exit(1);

let passed = 0;
let failed = 0;
const left = [...mutants];
async function work() {
  for (let mutant = left.shift(); mutant !== undefined; mutant = left.shift()) {
    const { isCaught, how } = await examine(mutant);
    if (isCaught) passed++;
    else failed++;
    console.log(`${isCaught ? 'caught' : 'MISSED'}  ${mutant.name}: ${mutant.what} (${how})`);
  }
}
await Promise.all(Array.from({ length: availableParallelism() }, work));
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
