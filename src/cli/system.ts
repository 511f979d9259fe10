import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { checkOptions } from '../options.js';
import { noReply } from '../reply.js';

const defaults = checkOptions({ listeners: [{ port: 0 }], handler: () => noReply });
const { maxConnections } = defaults.limits.current.connections;
const [{ backlog } = { backlog: 0 }] = defaults.listeners;

export interface SystemLimit {
  name: string;
  value: string;
  /** What to do about it, or null if there is nothing to do. */
  advice: string | null;
}

interface Report {
  header: { glibcVersionRuntime?: string };
  userLimits?: { open_files?: { soft: number | string; hard: number | string } };
}

/** `glibc 2.36` or `musl`, or null where there is neither. */
export function readLibc(): string | null {
  if (process.platform !== 'linux') return null;
  const version = report().header.glibcVersionRuntime;
  return version === undefined ? 'musl' : `glibc ${version}`;
}

/** Those of which a server with many connections runs out first. */
export function readLimits(): SystemLimit[] {
  return [adviseOnDescriptors(readDescriptors()), adviseOnQueue(...readQueue())];
}

/** @param most descriptors of this process; null if unknown */
export function adviseOnDescriptors(most: number | null): SystemLimit {
  const isLow = most !== null && most <= maxConnections;
  return {
    name: 'descriptors (ulimit -n)',
    value: most === null ? 'unknown' : most === Infinity ? 'unlimited' : String(most),
    advice: isLow
      ? `each connection is one, and maxConnections is ${maxConnections} by default: raise it ` +
        `(ulimit -n, LimitNOFILE= of systemd), or set maxConnections below ${most}`
      : null,
  };
}

/** @param setting the system's name for it; @param most null if unknown */
export function adviseOnQueue(setting: string, most: number | null): SystemLimit {
  return {
    name: `clients that wait to be accepted (${setting})`,
    value: most === null ? 'unknown' : String(most),
    advice:
      most !== null && most < backlog
        ? `a listener's backlog is ${backlog} by default, and the system cuts it to ${most}: ` +
          `sysctl ${setting}=4096`
        : null,
  };
}

/** The hard limit: Node raises its own to that when it starts. */
function readDescriptors(): number | null {
  const hard = report().userLimits?.open_files?.hard;
  if (hard === undefined) return null;
  return hard === 'unlimited' ? Infinity : Number(hard);
}

function readQueue(): [string, number | null] {
  if (process.platform === 'linux') {
    return ['net.core.somaxconn', numberOr(readText('/proc/sys/net/core/somaxconn'))];
  }
  const name = process.platform === 'darwin' ? 'kern.ipc.somaxconn' : 'kern.ipc.soacceptqueue';
  if (process.platform === 'win32') return ['SOMAXCONN', null];
  const { stdout } = spawnSync('sysctl', ['-n', name], { encoding: 'utf8' });
  return [name, numberOr(stdout)];
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

function numberOr(text: string | null): number | null {
  const trimmed = text?.trim() ?? '';
  return /^\d+$/.test(trimmed) ? Number(trimmed) : null;
}

let cached: Report | undefined;

function report(): Report {
  if (cached === undefined) {
    // It would look up the names of all connected addresses; older Nodes' types don't have it.
    Object.assign(process.report, { excludeNetwork: true });
    cached = process.report.getReport() as unknown as Report;
  }
  return cached;
}
