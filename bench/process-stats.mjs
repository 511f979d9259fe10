// What a process uses, counted from outside: Linux's /proc.
import { readdirSync, readFileSync } from 'node:fs';

/**
 * @typedef {object} ProcessStats
 * @property {number} cpuNs CPU time of all threads
 * @property {number} userTicks of it in user space, in ticks of 10 ms or so, good for a ratio
 * @property {number} systemTicks of it in the kernel
 * @property {number} switches context switches of all threads, voluntary and not
 * @property {number} rssBytes resident memory
 */

/** @returns {ProcessStats} of the process now */
export function processStats(pid) {
  const [userTicks, systemTicks] = cpuTicks(read(`/proc/${pid}/stat`));
  const stats = { cpuNs: 0, userTicks, systemTicks, switches: 0, rssBytes: rssBytes(pid) };
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      addThread(stats, `/proc/${pid}/task/${thread}`);
    } catch (error) {
      // A thread that has ended since the folder was read.
      if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error;
    }
  }
  return stats;
}

export function rssBytes(pid) {
  return field(read(`/proc/${pid}/status`), 'VmRSS') * 1024;
}

/** What was used between two looks, for each of `requests`. */
export function usePerRequest(before, after, requests) {
  const cpuUs = (after.cpuNs - before.cpuNs) / 1000 / requests;
  const user = after.userTicks - before.userTicks;
  const system = after.systemTicks - before.systemTicks;
  const userShare = user + system === 0 ? 0 : user / (user + system);
  return {
    cpuUs,
    userUs: cpuUs * userShare,
    systemUs: cpuUs * (1 - userShare),
    switches: (after.switches - before.switches) / requests,
  };
}

function read(path) {
  return readFileSync(path, 'latin1');
}

function addThread(stats, folder) {
  // Time on a core in nanoseconds; /proc/PID/stat has ticks alone, too coarse for light loads.
  stats.cpuNs += Number(read(`${folder}/schedstat`).split(' ')[0]);
  const status = read(`${folder}/status`);
  stats.switches += field(status, 'voluntary_ctxt_switches');
  stats.switches += field(status, 'nonvoluntary_ctxt_switches');
}

/** utime and stime. They stand behind the program's name, which may hold any character. */
function cpuTicks(stat) {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return [Number(fields[11]), Number(fields[12])];
}

function field(status, name) {
  return Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1] ?? 0);
}
