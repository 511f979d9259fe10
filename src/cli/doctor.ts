import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../errors.js';
import { isNativeAvailable, nativeUnavailabilityCause } from '../index.js';
import { packageRoot, packageVersion } from './package-root.js';
import { readLibc, readLimits } from './system.js';

/**
 * Prints what serves here and why, and the limits of the system that matter to a server.
 *
 * @returns 0 if the native transport serves, else 1
 */
export function doctor(out: { write(text: string): unknown }): 0 | 1 {
  const isNative = isNativeAvailable();
  const libc = readLibc();
  const lines = [
    `odradek ${packageVersion()} on ${process.platform}-${arch()}${libc === null ? '' : ` (${libc})`}, Node ${process.version}`,
    '',
    ...section(isNative ? describeNative() : describeJs(libc)),
    '',
    'limits of the system',
    ...readLimits().flatMap(({ name, value, advice }) => [
      `  ${name}: ${value}`,
      ...(advice === null ? [] : [`    ${advice}`]),
    ]),
  ];
  out.write(`${lines.join('\n')}\n`);
  return isNative ? 0 : 1;
}

function describeNative(): [string, string][] {
  return [
    ['transport', 'native'],
    ['poller', process.platform === 'linux' ? 'epoll' : 'kqueue'],
    ['binary', findBinary() ?? 'unknown'],
  ];
}

function describeJs(libc: string | null): [string, string][] {
  const cause = nativeUnavailabilityCause();
  return [
    ['transport', 'js (node:net): the same API and behaviour, with less speed'],
    ['poller', "Node's own"],
    ['binary', findBinary() ?? 'none'],
    ['why', cause === null ? 'unknown' : messageOf(cause).trim()],
    ['shipped', listShipped()],
    ...advise(libc).map((text): [string, string] => ['try', text]),
  ];
}

function section(rows: [string, string][]): string[] {
  return rows.map(([name, text]) => `${name.padEnd(11)}${text.replace(/\s*\n\s*/g, ' ')}`);
}

/** The file that the loader takes, whether or not it loads. */
function findBinary(): string | null {
  try {
    const nodeGypBuild = createRequire(import.meta.url)('node-gyp-build') as {
      path(folder: string): string;
    };
    return nodeGypBuild.path(packageRoot);
  } catch {
    return null;
  }
}

function listShipped(): string {
  const prebuilds = join(packageRoot, 'prebuilds');
  try {
    const files = readdirSync(prebuilds)
      .sort()
      .flatMap((folder) =>
        readdirSync(join(prebuilds, folder)).map((file) => {
          const libc = /\.(glibc|musl)\.node$/.exec(file)?.[1];
          return libc === undefined ? folder : `${folder} (${libc})`;
        }),
      );
    return files.join(', ') || 'none';
  } catch {
    return 'none';
  }
}

function advise(libc: string | null): string[] {
  if (process.platform === 'win32') return [];
  return [
    // The loader takes a system for one with musl by a file that Alpine alone has.
    ...(libc === 'musl' ? ['LIBC=musl in the environment, if this is not Alpine'] : []),
    'npx odradek build, which compiles the native transport here',
  ];
}
