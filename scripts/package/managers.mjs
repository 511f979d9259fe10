// The package managers: how each installs a tarball into an empty project, and runs Node there.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installTool, nodeFolder, registry, scriptOf, tools } from './tools.mjs';

/**
 * @typedef {object} Manager
 * @property {string[]} path folders of commands: its Node
 * @property {(tarball: string, isIgnoring: boolean) => string[][]} installs commands, the last one's
 *   state being what is looked at; `isIgnoring`: without install scripts
 * @property {string[]} node the command that runs Node in the project
 * @property {string[]} odradek the command that runs `odradek` there
 * @property {Record<string, string>} [env]
 * @property {(folder: string) => void} [prepare] writes its settings
 */

const localBin = [join('node_modules', '.bin', 'odradek')];

/** npm has a Node of its own for each major version, and cares most for what a package should have. */
export async function npm(version, major) {
  const bin = await nodeFolder(major);
  const npmScript = scriptOf(await installTool(`npm-${version}`, `npm@${version}`), 'npm');
  const command = [join(bin, 'node'), npmScript];
  const ignoring = (isIgnoring) => (isIgnoring ? ['--ignore-scripts'] : []);
  return {
    command,
    path: [bin],
    installs: (tarball, isIgnoring) => [
      [...command, 'install', tarball, ...ignoring(isIgnoring)],
      [...command, 'ci', ...ignoring(isIgnoring)],
    ],
    node: [join(bin, 'node')],
    odradek: [...command, 'exec', '--', 'odradek'],
    // Its news about itself are none about the package.
    env: { npm_config_update_notifier: 'false' },
  };
}

/** What pnpm and Bun have in common. */
function addsBy(command) {
  return (tarball, isIgnoring) => [
    [command, 'add', tarball, ...(isIgnoring ? ['--ignore-scripts'] : [])],
  ];
}

export async function pnpm(version, major) {
  const bin = await nodeFolder(major);
  // A program of its own, which the package `pnpm` would put into its place by an install script.
  const name = `@pnpm/exe.${process.platform}-${process.arch}`;
  const command = join(await installTool(`pnpm-${version}`, `${name}@${version}`), 'pnpm');
  return {
    path: [bin],
    installs: addsBy(command),
    node: [join(bin, 'node')],
    odradek: localBin,
    env: { npm_config_update_notifier: 'false' },
  };
}

export async function yarn1(version, major) {
  const bin = await nodeFolder(major);
  const script = scriptOf(await installTool(`yarn-${version}`, `yarn@${version}`), 'yarn');
  const cache = join(tools, 'home', 'yarn-1');
  return {
    path: [bin],
    installs: (tarball, isIgnoring) => [
      // It would give what it once kept of a tarball of this name.
      [join(bin, 'node'), script, 'cache', 'clean', 'odradek'],
      [join(bin, 'node'), script, 'add', tarball, ...(isIgnoring ? ['--ignore-scripts'] : [])],
    ],
    node: [join(bin, 'node')],
    odradek: localBin,
    env: { YARN_REGISTRY: await registry(), YARN_CACHE_FOLDER: cache },
  };
}

/** @param {'node-modules' | 'pnp'} linker how it lays out what it installs */
export async function yarn4(version, major, linker) {
  const bin = await nodeFolder(major);
  const folder = await installTool(`yarn-${version}`, `@yarnpkg/cli-dist@${version}`);
  const script = scriptOf(folder, 'yarn');
  const command = [join(bin, 'node'), script];
  return {
    path: [bin],
    installs: (tarball, isIgnoring) => [
      [...command, 'add', `odradek@file:${tarball}`, ...(isIgnoring ? ['--mode=skip-build'] : [])],
    ],
    node: linker === 'pnp' ? [...command, 'node'] : [join(bin, 'node')],
    odradek: [...command, 'odradek'],
    env: {
      YARN_NPM_REGISTRY_SERVER: await registry(),
      YARN_ENABLE_TELEMETRY: '0',
      YARN_ENABLE_GLOBAL_CACHE: '0',
      // With CI=true it would insist on a lock file.
      YARN_ENABLE_IMMUTABLE_INSTALLS: '0',
    },
    // Its own lock file says where a project begins.
    prepare: (project) => {
      writeFileSync(join(project, '.yarnrc.yml'), `nodeLinker: ${linker}\n`);
      writeFileSync(join(project, 'yarn.lock'), '');
    },
  };
}

export async function bun(version, major) {
  const bin = await nodeFolder(major);
  const command = await bunCommand(version);
  return {
    path: [bin],
    installs: addsBy(command),
    node: [join(bin, 'node')],
    odradek: localBin,
    env: {
      npm_config_registry: await registry(),
      BUN_INSTALL_CACHE_DIR: join(tools, 'home', 'bun'),
    },
  };
}

export async function bunCommand(version) {
  const arch = process.arch === 'arm64' ? 'aarch64' : process.arch;
  const name = `@oven/bun-${process.platform}-${arch}`;
  return join(await installTool(`bun-${version}`, `${name}@${version}`), 'bin', 'bun');
}

export async function denoCommand(version) {
  const libc = process.platform === 'linux' ? '-glibc' : '';
  const name = `@deno/${process.platform}-${process.arch}${libc}`;
  return join(await installTool(`deno-${version}`, `${name}@${version}`), 'deno');
}
