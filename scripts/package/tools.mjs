// Node versions and package managers, as npm packages, each installed once into a folder under build/.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cleanEnv, must } from './run.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const tools = join(root, 'build', 'tools');

/** A tool isn't to be had here: its legs are skipped. */
export class Missing extends Error {}

/**
 * Installs an npm package into a folder of its own.
 *
 * @param {string} folder under build/tools; another version needs another one
 * @param {string} spec `name@version`
 * @param {string[]} options of npm
 * @returns {Promise<string>} the folder of the package
 */
export async function installTool(folder, spec, options = []) {
  const place = join(tools, folder);
  const name = spec.slice(0, spec.lastIndexOf('@'));
  const installed = join(place, 'node_modules', name);
  if (existsSync(join(place, 'done'))) return installed;
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'package.json'), '{ "private": true }\n');
  const npm = ['npm', 'install', '--no-audit', '--no-fund', '--ignore-scripts', ...options, spec];
  try {
    await must(npm, { cwd: place, env: cleanEnv({ home: join(tools, 'home') }) });
  } catch (error) {
    throw new Missing(`${spec} could not be installed: ${lastLine(error.message)}`);
  }
  writeFileSync(join(place, 'done'), '');
  return installed;
}

function lastLine(text) {
  return text.trim().split('\n').at(-1);
}

/** A folder with nothing but `node` of that major version in it. */
export async function nodeFolder(major) {
  const name = `node-${process.platform}-${process.arch}`;
  const folder = await installTool(`node-${major}`, `${name}@${major}`);
  const bin = join(tools, `node-${major}`, 'bin');
  if (!existsSync(bin)) {
    const partial = `${bin}.partial`;
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial);
    chmodSync(join(folder, 'bin', 'node'), 0o755);
    symlinkSync(join(folder, 'bin', 'node'), join(partial, 'node'));
    renameSync(partial, bin);
  }
  return bin;
}

/** The script of a package's command. */
export function scriptOf(folder, command) {
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const script = join(folder, typeof bin === 'string' ? bin : bin[command]);
  if (!existsSync(script)) throw new Missing(`${script} is not there`);
  return script;
}

let registryFound;

/** The registry that this machine's npm uses: yarn would ask another one. */
export async function registry() {
  registryFound ??= must(['npm', 'config', 'get', 'registry'], {
    cwd: dirname(root),
    env: process.env,
  }).then(({ stdout }) => stdout.trim());
  return registryFound;
}
