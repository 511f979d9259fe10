// npm run prebuild: makes the binaries that the package ships, in prebuilds/, on one machine.
//
//   node scripts/prebuild.mjs                                  all targets of prebuilds/targets.mjs
//   node scripts/prebuild.mjs linux-x64-glibc linux-x64-musl   those named
//   node scripts/prebuild.mjs --twice linux-x64-glibc          compiles a copy of the tree as well, from
//                                                              nothing, and compares the bytes
//
// Each is checked against its target's rules before it gets its place (prebuilds/check.mjs).
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { glibcOf, problemsOf, readBinary } from './prebuilds/check.mjs';
import { compile } from './prebuilds/compile.mjs';
import { chooseTargets } from './prebuilds/targets.mjs';
import { findZig } from './prebuilds/zig.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const tools = join(root, 'build', 'tools');
const args = process.argv.slice(2);
const isTwice = args.includes('--twice');

/** All that a compilation reads of the tree. */
const parts = [
  ...['addon.gypi', 'sources.gypi', 'core', 'platform', 'addon'].map((name) => `native/${name}`),
  'scripts/prebuilds',
  'node_modules/node-api-headers',
];

const rows = [];
let isBroken = false;
try {
  const targets = chooseTargets(args.filter((arg) => arg !== '--twice'));
  const zig = findZig(tools);
  for (const target of targets) make(target, zig);
} catch (error) {
  console.error(error.message);
  isBroken = true;
}
if (rows.length > 0) printTable();
if (isBroken) process.exitCode = 1;

function make(target, zig) {
  const began = Date.now();
  const staged = join(root, 'build', 'prebuilds', target.file);
  mkdirSync(dirname(staged), { recursive: true });
  compile(target, { zig, root, output: staged, cache: join(tools, 'zig-cache') });
  const bytes = readFileSync(staged);
  const problems = problemsOf(bytes, target.binary);
  if (isTwice && !bytes.equals(compileAnew(target, zig))) problems.push('is not the same twice');
  for (const problem of problems) console.error(`${target.name}: ${problem}`);
  if (problems.length > 0) {
    isBroken = true;
    return;
  }
  const place = join(root, 'prebuilds', target.file);
  mkdirSync(dirname(place), { recursive: true });
  renameSync(staged, place);
  rows.push(rowOf(target, bytes));
  console.log(`${target.name}: ${Math.round((Date.now() - began) / 1000)} s`);
}

/** The bytes that another folder without any cache gives. */
function compileAnew(target, zig) {
  const folder = mkdtempSync(join(tmpdir(), 'odradek-prebuild-'));
  try {
    for (const part of parts) cpSync(join(root, part), join(folder, part), { recursive: true });
    const output = join(folder, 'odradek.node');
    compile(target, { zig, root: folder, output, cache: join(folder, 'cache') });
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function rowOf(target, bytes) {
  const binary = readBinary(bytes);
  const glibc = glibcOf(binary);
  const floor =
    binary.format === 'Mach-O'
      ? `macOS ${binary.macosFloor}`
      : glibc === null
        ? 'musl'
        : `${target.binary.glibcFloor} (asks for ${glibc})`;
  const hash = createHash('sha256').update(bytes).digest('hex').slice(0, 12);
  return [target.name, `${(bytes.length / 1024).toFixed(0)} KiB`, floor, hash];
}

function printTable() {
  const heads = ['target', 'size', 'glibc floor', 'sha256'];
  const table = [heads, heads.map(() => '---'), ...rows];
  const widths = heads.map((_head, column) => Math.max(...table.map((row) => row[column].length)));
  for (const row of table) {
    console.log(`| ${row.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`);
  }
  if (isTwice) console.log('each compiled twice, with the same bytes');
}
