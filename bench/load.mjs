// The load generator, native/bench/load, run as a child process.
import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { Child } from './children.mjs';
import { root, run } from './commands.mjs';

export const buildFolder = `${root}build/bench`;
const binary = `${buildFolder}/load`;
/** The generator's core where it has one of its own; the server has the other. */
export const generatorCore = 1;
/** What the generator is given beyond its own time to connect, or to open idle connections. */
const patienceMs = 15_000;

/** Compiles the generator. */
export function buildLoad() {
  const folder = `${root}native/bench/load/`;
  const files = readdirSync(folder).map((name) => folder + name);
  const isHeader = (name) => name.endsWith('.h');
  compile(
    binary,
    files.filter((name) => !isHeader(name)),
    files.filter(isHeader),
  );
}

/** Compiles a program unless it is newer than its sources. */
export function compile(target, sources, headers = []) {
  const isOlder = (source) => mtime(source) > mtime(target);
  if (![...sources, ...headers].some(isOlder)) return;
  mkdirSync(buildFolder, { recursive: true });
  const flags = ['-std=c++20', '-O2', '-fno-exceptions', '-fno-rtti'];
  // Somebody may be running, or compiling, the same program.
  const own = `${target}.${process.pid}`;
  run(process.env.CXX ?? 'c++', [...flags, '-o', own, ...sources]);
  renameSync(own, target);
}

/** When a file was changed; 0 if it isn't there. */
function mtime(file) {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/**
 * @typedef {Record<string, string | number | boolean>} LoadFlags the generator's flags in camel
 *   case: `{ bodyBytes: 128, spin: true }` is `--body-bytes 128 --spin`
 */

/** @param {LoadFlags} flags */
export function loadArguments(flags) {
  return Object.entries(flags).flatMap(([name, value]) => {
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (value === false || value === undefined) return [];
    return value === true ? [flag] : [flag, String(value)];
  });
}

/**
 * Runs the generator to its end.
 *
 * @param {LoadFlags} flags
 * @param {{ isPinned?: boolean, onMeasuring?: () => void, onMeasured?: () => void }} options called
 *   when the measured time begins and ends; all connections are open at both moments
 * @returns the generator's JSON
 */
export async function runLoad(flags, { isPinned = true, onMeasuring, onMeasured } = {}) {
  const child = start({ ...flags, attended: true }, isPinned);
  try {
    await child.read((flags.warmupSeconds ?? 0.5) * 1000 + patienceMs);
    onMeasuring?.();
    const result = await child.read((flags.seconds ?? 2) * 1000 + patienceMs);
    onMeasured?.();
    await child.end();
    return result;
  } finally {
    await child.kill();
  }
}

/** Opens connections that carry one request each and then stay idle; `end` closes them. */
export async function holdIdle(flags) {
  const child = start({ ...flags, mode: 'hold' }, true);
  try {
    await child.read(2 * patienceMs);
    return { end: () => child.end() };
  } catch (error) {
    await child.kill();
    throw error;
  }
}

function start(flags, isPinned) {
  const core = isPinned ? generatorCore : undefined;
  return new Child('the load generator', binary, loadArguments(flags), { core });
}
