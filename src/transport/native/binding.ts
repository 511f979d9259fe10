import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

export type Binding = object;

let outcome: { binding: Binding } | { cause: Error } | undefined;

function load(): { binding: Binding } | { cause: Error } {
  outcome ??= tryLoad();
  return outcome;
}

function tryLoad(): { binding: Binding } | { cause: Error } {
  try {
    const require = createRequire(import.meta.url);
    const nodeGypBuild = require('node-gyp-build') as (folder: string) => Binding;
    return { binding: nodeGypBuild(packageRoot) };
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    const cause = new Error(
      `the addon could not be loaded for ${process.platform}-${process.arch}: ${detail}. ` +
        `Either no binary was built for this platform (run 'npm run build' in a checkout), or it ` +
        `needs a newer C library than this system has.`,
      { cause: error },
    );
    return { cause };
  }
}

/** The addon, or `null` where it can't be loaded. */
export function loadBinding(): Binding | null {
  const loaded = load();
  return 'binding' in loaded ? loaded.binding : null;
}

/** Whether the native transport can be used in this process. */
export function isNativeAvailable(): boolean {
  return loadBinding() !== null;
}

/** Why the native transport can't be used, or `null` if it can. */
export function nativeUnavailabilityCause(): Error | null {
  const loaded = load();
  return 'cause' in loaded ? loaded.cause : null;
}
