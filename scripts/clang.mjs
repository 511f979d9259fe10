// clang-format and clang-tidy over the native code: `node scripts/clang.mjs format|format:check|tidy`.
// Fails on every finding. `tidy all` goes over the tests, too, whose headers take most of its time.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const mode = process.argv[2];
const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', 'native'], {
  cwd: root,
});
const files = listed
  .toString()
  .split('\n')
  .filter((name) => /\.(cc|h)$/.test(name));

function need(tool) {
  if (spawnSync(tool, ['--version']).status === 0) return;
  console.error(`${tool} is missing (Debian and Ubuntu: apt-get install ${tool})`);
  process.exit(1);
}

function run(command, args) {
  if (spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status !== 0) process.exit(1);
}

/** What has no headers here. */
const ofOtherSystems = /\/darwin_\w+\.cc$/;

/** Runs clang-tidy over one file; what it prints on stderr are counts of what it left out. */
function tidy(file, args) {
  return new Promise((resolve) => {
    const child = spawn('clang-tidy', ['--quiet', file, ...args], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'ignore'],
    });
    child.on('close', (code) => {
      if (code !== 0) console.error(`clang-tidy: ${file}`);
      resolve(code === 0);
    });
  });
}

/** @param {boolean} withTests */
async function tidyAll(withTests) {
  // A folder of its own: clang can't read the headers that gcc has precompiled for the tests.
  const folder = 'native/build/tidy';
  run('cmake', ['-S', 'native', '-B', folder, '-Wno-dev', '-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON']);
  const asInCMake = ['-p', folder];
  // What that build doesn't compile: the addon, the fuzzers and the load generator.
  const standalone = [
    '--',
    '-std=c++20',
    '-fno-exceptions',
    '-fno-rtti',
    '-DNAPI_VERSION=8',
    '-Inode_modules/node-api-headers/include',
  ];
  const work = files
    .filter((name) => name.endsWith('.cc') && !ofOtherSystems.test(name))
    .filter((name) => withTests || !name.startsWith('native/test/'))
    .map((name) => [
      name,
      /native\/(core|platform|test|sim)\//.test(name) ? asInCMake : standalone,
    ]);
  let isClean = true;
  const worker = async () => {
    for (let next = work.shift(); next !== undefined; next = work.shift()) {
      if (!(await tidy(...next))) isClean = false;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  process.exitCode = isClean ? 0 : 1;
}

switch (mode) {
  case 'format':
    need('clang-format');
    run('clang-format', ['-i', ...files]);
    break;
  case 'format:check':
    need('clang-format');
    run('clang-format', ['--dry-run', '--Werror', ...files]);
    break;
  case 'tidy':
    need('clang-tidy');
    await tidyAll(process.argv[3] === 'all');
    break;
  default:
    console.error('usage: node scripts/clang.mjs format|format:check|tidy');
    process.exit(2);
}
