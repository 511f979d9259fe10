import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { OdradekError } from '../errors.js';
import { packageRoot } from './package-root.js';

/** Where to look; each has a default. */
export interface Places {
  env?: NodeJS.ProcessEnv;
  /** Folders whose packages may have it: where this is called, and odradek's own. */
  folders?: string[];
  /** The path of Node, beside which npm may be. */
  node?: string;
}

/**
 * The script of a node-gyp: the one that `npm_config_node_gyp` names (npm sets it for what it runs),
 * one installed where this is called or beside odradek, the one on the path, or npm's own.
 *
 * @throws OdradekError `ERR_ODRADEK_NO_NODE_GYP`
 */
export function findNodeGyp({
  env = process.env,
  folders = [process.cwd(), packageRoot],
  node = process.execPath,
}: Places = {}): string {
  const { npm_config_node_gyp: named } = env;
  const candidates = [
    named,
    ...folders.map((folder) => installedIn(folder)),
    ...onPath(env, join('..', 'lib', 'node_modules', 'node-gyp', script)),
    ...npmFolders(env, node).map((folder) => join(folder, 'node_modules', 'node-gyp', script)),
  ];
  const found = candidates.find((path) => path !== undefined && existsSync(path));
  if (found !== undefined) return found;
  throw new OdradekError(
    'ERR_ODRADEK_NO_NODE_GYP',
    `neither here, nor on the path, nor with npm; 'npm install node-gyp' brings it`,
  );
}

const script = join('bin', 'node-gyp.js');

function installedIn(folder: string): string | undefined {
  try {
    const manifest = createRequire(join(folder, 'any.js')).resolve('node-gyp/package.json');
    return join(dirname(manifest), script);
  } catch {
    return undefined;
  }
}

/** Where npm may be: what runs this, what comes with this Node, and what the path leads to. */
function npmFolders(env: NodeJS.ProcessEnv, node: string): string[] {
  const besideNode = dirname(node);
  const { npm_execpath: running } = env;
  return [
    ...(running === undefined ? [] : [dirname(dirname(running))]),
    join(besideNode, '..', 'lib', 'node_modules', 'npm'),
    join(besideNode, 'node_modules', 'npm'),
    ...onPath(env, join('..', 'lib', 'node_modules', 'npm')),
    // Debian's
    join(besideNode, '..', 'share', 'nodejs', 'npm'),
  ];
}

/** A path as seen from each folder of the path. */
function onPath(env: NodeJS.ProcessEnv, relative: string): string[] {
  const { PATH = '' } = env;
  const folders = PATH.split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, relative));
}
