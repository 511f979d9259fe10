// An empty project: installs the tarball into it, and proves that it serves there.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cleanEnv, must } from './run.mjs';
import { tools } from './tools.mjs';

const files = fileURLToPath(new URL('project', import.meta.url));

/** Of three servers, 200 requests each; see project/prove.cjs. */
const answered = 600;

/** Calls `use` with the folder of a project, and removes it. */
export async function withProject(use, manager) {
  const folder = mkdtempSync(join(tmpdir(), 'odradek-package-'));
  try {
    cpSync(files, folder, { recursive: true });
    const manifest = { name: 'project', version: '1.0.0', private: true, license: 'MIT' };
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    manager?.prepare?.(folder);
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function envOf(manager) {
  const env = cleanEnv({ home: join(tools, 'home'), path: manager.path });
  return { ...env, ...manager.env };
}

/** Installs the tarball; whatever looks like a warning is a failure. */
export async function install(manager, folder, tarball, isIgnoring) {
  const env = envOf(manager);
  for (const command of manager.installs(tarball, isIgnoring)) {
    const { text } = await must(command, { cwd: folder, env });
    const warnings = text.split('\n').filter((line) => isWarning(line));
    if (warnings.length > 0) throw new Error(`${command.join(' ')}\nwarned:\n${text}`);
  }
}

/** yarn 4's messages all have codes: progress, what was added, and that ES modules under PnP are new. */
const harmlessCodes = ['YN0000', 'YN0013', 'YN0085', 'YN0092'];

function isWarning(line) {
  const code = /\bYN\d{4}\b/.exec(line)?.[0];
  if (code !== undefined) return !harmlessCodes.includes(code);
  // yarn 1, of what it was told to do.
  if (line === 'warning Ignored scripts due to flag.') return false;
  return /warn|deprecat|blocked|ignored build/i.test(line);
}

/** Imports it, requires it, serves with it, and asks `odradek doctor`; by shipped binaries alone. */
export async function prove(manager, folder) {
  const env = { ...envOf(manager), PREBUILDS_ONLY: '1' };
  for (const program of ['import.mjs', 'require.cjs']) {
    const result = await must([...manager.node, program], { cwd: folder, env });
    expectServed(result, 'native');
  }
  const { stdout } = await must([...manager.odradek, 'doctor'], { cwd: folder, env });
  if (!/^transport +native$/m.test(stdout) || !/^binary .*prebuilds/m.test(stdout)) {
    throw new Error(`odradek doctor says\n${stdout}`);
  }
}

/** What prove.cjs printed; nothing else may have been said. */
export function expectServed({ stdout, stderr }, transport) {
  const seen = JSON.parse(stdout.trim().split('\n').at(-1));
  const isRight = seen.answered === answered && seen.transports.every((each) => each === transport);
  if (!isRight || stderr !== '') throw new Error(`${stdout}${stderr}`);
}
