import type { Binding } from './transport/native/binding.js';
import {
  loadBinding,
  nativeUnavailabilityCause as whyNotLoaded,
} from './transport/native/binding.js';

/**
 * Runtimes that load Node's addons, but have no libuv: Bun ends the process where the addon asks for an
 * event loop's part of it, and Deno crashes.
 */
const foreign = [
  ['bun', 'Bun'],
  ['deno', 'Deno'],
] as const;

function foreignRuntime(): string | undefined {
  return foreign.find(([key]) => process.versions[key] !== undefined)?.[1];
}

/** The addon, or `null` where it can't be used. */
export function nativeBinding(): Binding | null {
  return foreignRuntime() === undefined ? loadBinding() : null;
}

/** Whether the native transport can be used in this process. */
export function isNativeAvailable(): boolean {
  return nativeBinding() !== null;
}

/** Why the native transport can't be used, or `null` if it can. */
export function nativeUnavailabilityCause(): Error | null {
  const runtime = foreignRuntime();
  if (runtime === undefined) return whyNotLoaded();
  return new Error(`the native transport needs Node's event loop, which ${runtime} has not`);
}
