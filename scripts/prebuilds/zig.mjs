// The cross compiler: zig, which brings the C libraries of every target and a C++ library of its own.
// PyPI has it as a package, so that neither a system's compiler nor its C library matters.
import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Another version may give other bytes. */
export const zigVersion = '0.17.1';

/** The path of zig, installed into a folder of its own under `tools` when it is missing. */
export function findZig(tools) {
  const folder = join(tools, `zig-${zigVersion}`);
  const zig = join(folder, 'ziglang', process.platform === 'win32' ? 'zig.exe' : 'zig');
  if (existsSync(zig)) return zig;
  // Renamed when it is whole: an install that was cut short is none.
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  console.log(`> pip install ziglang==${zigVersion}`);
  const options = ['--quiet', '--no-deps', '--disable-pip-version-check', '--target', partial];
  const pip = ['-m', 'pip', 'install', ...options, `ziglang==${zigVersion}`];
  const { status, error } = spawnSync('python3', pip, {
    stdio: 'inherit',
    env: { ...process.env, PIP_ROOT_USER_ACTION: 'ignore' },
  });
  if (status !== 0) {
    const detail = error === undefined ? `pip ended with ${status}` : error.message;
    throw new Error(`zig could not be installed (python3 -m pip install ziglang): ${detail}`);
  }
  renameSync(partial, folder);
  return zig;
}
