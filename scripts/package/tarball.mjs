// Makes the tarball that would be published, and looks at what is in it.
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { targets } from '../prebuilds/targets.mjs';
import { cleanEnv, must } from './run.mjs';
import { root, tools } from './tools.mjs';

/** All that a user has to download. */
const maxPackedBytes = 2.5 * 1024 * 1024;

/** What each path in it has to be one of. */
const allowed = [
  /^(package\.json|README\.md|ARCHITECTURE\.md|CHANGELOG\.md|LICENSE)$/,
  /^dist\/[\w/-]+\.(js|d\.ts|js\.map|d\.ts\.map)$/,
  /^src\/[\w/-]+\.ts$/,
  /^native\/(addon|core|platform)\/\w+\.(h|cc|map)$/,
  /^native\/(addon|sources)\.gypi$/,
];

/**
 * @returns {Promise<{ path: string, files: string[], problems: string[] }>} `problems`: what should not
 *   be in it, or is missing; binaries that were not made are not
 */
export async function makeTarball() {
  const folder = join(root, 'build', 'package');
  mkdirSync(folder, { recursive: true });
  // What was deleted from src would still be there.
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  const env = cleanEnv({ home: join(tools, 'home') });
  await must([process.execPath, 'node_modules/typescript/bin/tsc', '-p', '.'], { cwd: root, env });
  const pack = ['npm', 'pack', '--json', '--pack-destination', folder];
  const { stdout } = await must(pack, { cwd: root, env });
  const packed = Object.values(JSON.parse(stdout))[0];
  const files = packed.files.map((file) => file.path).sort();
  return { path: join(folder, packed.filename), files, problems: problemsOf(files, packed.size) };
}

function problemsOf(files, packedBytes) {
  const binaries = targets.map((target) => `prebuilds/${target.file}`);
  const missing = binaries.filter((path) => existsSync(join(root, path)) && !files.includes(path));
  const sources = ['native/addon/exports.map', 'native/sources.gypi', 'dist/cli/main.js'];
  return [
    ...files
      .filter((path) => !binaries.includes(path) && !allowed.some((rule) => rule.test(path)))
      .map((path) => `${path} should not be in it`),
    ...[...missing, ...sources.filter((path) => !files.includes(path))].map(
      (path) => `${path} is missing`,
    ),
    ...(packedBytes > maxPackedBytes ? [`it has ${packedBytes} bytes, packed`] : []),
  ];
}
