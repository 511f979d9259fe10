// clang-format and clang-tidy over the native code: `node scripts/clang.mjs format|format:check|tidy`.
// clang-tidy reads the compile commands of the plain CMake build.
import { execFileSync, spawnSync } from 'node:child_process';
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

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error?.code === 'ENOENT') {
    console.error(`${command} is missing (Debian: apt-get install ${command})`);
  }
  if (status !== 0) process.exit(1);
}

if (mode === 'format') run('clang-format', ['-i', ...files]);
else if (mode === 'format:check') run('clang-format', ['--dry-run', '--Werror', ...files]);
else if (mode === 'tidy') {
  const folder = 'native/build/plain';
  run('cmake', ['-S', 'native', '-B', folder]);
  // The addon needs Node's headers, which this build doesn't have; it converts and nothing else.
  const sources = files.filter((name) => /native\/(core|platform)\/.*\.cc$/.test(name));
  run('clang-tidy', ['-p', folder, '--quiet', ...sources]);
} else {
  console.error('usage: node scripts/clang.mjs format|format:check|tidy');
  process.exit(2);
}
