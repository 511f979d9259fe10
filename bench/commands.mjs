// Commands that run to their end.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** Whether the command is there. */
export function hasCommand(name) {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).error === undefined;
}

/** What a command prints, or undefined if it isn't there or fails. */
export function output(name, args) {
  const { status, stdout } = spawnSync(name, args, { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Runs a command in the repository's root, or throws with what it said. */
export function run(name, args) {
  const { status, error, stderr } = spawnSync(name, args, { cwd: root, encoding: 'utf8' });
  if (status === 0) return;
  throw new Error(`${name} ${args.join(' ')}: ${error?.message ?? stderr}`);
}
