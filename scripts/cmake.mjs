// Builds of the native code by CMake, each in a folder of its own: native/build/NAME.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Configures and builds; true if both went well.
 *
 * @param {string} name of the build
 * @param {{ settings?: string[], target?: string, isQuiet?: boolean }} options `-D` settings; one
 *   target (default: all); whether to print errors alone
 */
export function build(name, { settings = [], target, isQuiet = false } = {}) {
  const folder = `native/build/${name}`;
  const ofTarget = target === undefined ? [] : ['--target', target];
  const steps = [
    ['-S', 'native', '-B', folder, ...settings],
    ['--build', folder, ...ofTarget, '-j', String(availableParallelism())],
  ];
  return steps.every((args) => {
    if (!isQuiet) console.log(`> cmake ${args.join(' ')}`);
    const stdio = ['ignore', isQuiet ? 'ignore' : 'inherit', 'inherit'];
    return spawnSync('cmake', args, { cwd: root, stdio }).status === 0;
  });
}
