// Where a run took place, and with what.
import { cpus, release, totalmem } from 'node:os';
import { canPin } from './children.mjs';
import { output } from './commands.mjs';
import { bunVersion } from './servers.mjs';

export function describeMachine() {
  const [cpu] = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: commit(),
    cpu: `${cpus().length} x ${cpu?.model.trim()}`,
    memoryGb: Math.round(totalmem() / 1e9),
    system: `${process.platform} ${release()}`,
    node: process.version,
    bun: bunVersion() ?? 'absent',
    compiler: output(process.env.CXX ?? 'c++', ['--version'])?.split('\n')[0] ?? 'unknown',
    isPinned: canPin,
  };
}

function commit() {
  const hash = output('git', ['rev-parse', '--short', 'HEAD']);
  if (hash === undefined) return 'unknown';
  const isChanged = output('git', ['status', '--porcelain', '--untracked-files=no']) !== '';
  return isChanged ? `${hash}, changed` : hash;
}
