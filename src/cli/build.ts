import { spawn } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf, OdradekError } from '../errors.js';
import { findNodeGyp } from './node-gyp.js';
import { packageRoot } from './package-root.js';

/** Those that epoll or kqueue serves. */
const platforms = ['linux', 'darwin', 'freebsd', 'openbsd', 'netbsd', 'dragonfly'];

const sources = ['addon.gypi', 'sources.gypi', 'addon', 'core', 'platform'];

/**
 * Compiles the addon from the package's sources, tries it, and puts it where the loader looks first.
 * What was there stays until then.
 *
 * @returns the file's path
 * @throws OdradekError `ERR_ODRADEK_BUILD`, `ERR_ODRADEK_NO_NODE_GYP`
 */
export async function buildAddon(): Promise<string> {
  if (!platforms.includes(process.platform)) {
    throw failed(`there is no native transport for ${process.platform}`);
  }
  const nodeGyp = findNodeGyp();
  // First, since compiling takes minutes.
  const place = makePlace();
  // The compiler works elsewhere: it is node-gyp's own folder that the loader would look into.
  const folder = mkdtempSync(join(tmpdir(), 'odradek-build-'));
  try {
    for (const name of sources) {
      cpSync(join(packageRoot, 'native', name), join(folder, 'native', name), { recursive: true });
    }
    writeFileSync(join(folder, 'binding.gyp'), '{ "includes": ["native/addon.gypi"] }\n');
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
    await run([nodeGyp, 'rebuild', '--release'], folder, 'node-gyp');
    const built = join(folder, 'build', 'Release', 'odradek.node');
    await run(['-e', `require(${JSON.stringify(built)})`], folder, 'loading what was built');
    return install(built, place);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function makePlace(): string {
  const place = join(packageRoot, 'build', 'Release');
  try {
    mkdirSync(place, { recursive: true });
    const probe = join(place, `.probe-${process.pid}`);
    writeFileSync(probe, '');
    rmSync(probe);
  } catch (error) {
    throw failed(`the package's folder can't be written to: ${messageOf(error)}`, error);
  }
  return place;
}

/** Renamed into its place: a process that has the old one mapped keeps it whole. */
function install(built: string, place: string): string {
  const file = join(place, 'odradek.node');
  const partial = `${file}.${process.pid}`;
  try {
    copyFileSync(built, partial);
    renameSync(partial, file);
  } catch (error) {
    rmSync(partial, { force: true });
    throw failed(`it can't be put into ${place}: ${messageOf(error)}`, error);
  }
  return file;
}

/** Runs Node, which shows what it does. */
async function run(args: string[], cwd: string, what: string): Promise<void> {
  const child = spawn(process.execPath, args, { cwd, stdio: 'inherit' });
  const end = await new Promise<string | number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
  if (end !== 0) throw failed(`${what} ended with ${end}; what it says stands above`);
}

function failed(detail: string, cause?: unknown): OdradekError {
  return new OdradekError('ERR_ODRADEK_BUILD', detail, cause === undefined ? {} : { cause });
}
