// One measurement: one server, started anew, under one shape.
import { setTimeout as delay } from 'node:timers/promises';
import { holdIdle, runLoad } from './load.mjs';
import { processStats, rssBytes, usePerRequest } from './process-stats.mjs';
import { serverCore } from './server-process.mjs';

/** Garbage of the moment is gone and threads sleep again. */
const settleMs = 200;

/**
 * What one measurement gives; a shape's own `run` gives what it can.
 *
 * @typedef {object} Round
 * @property {number} perSecond requests
 * @property {number} [requests]
 * @property {{ count: number, p50: number, p99: number, p999: number, max: number }} [latencyUs] of
 *   requests that weren't marked
 * @property {number} [cpuUs] of the server for each request: `userUs` + `systemUs`
 * @property {number} [userUs]
 * @property {number} [systemUs]
 * @property {number} [switches] context switches for each request
 * @property {number} [rssMb]
 * @property {number} [rssKbPerIdle] for each idle connection
 * @property {number} [generatorBusy] share of its core that the generator used
 */

/**
 * @param {import('./shapes.mjs').Shape} shape
 * @param {import('./server-process.mjs').Server} server
 * @param {import('./shapes.mjs').Times} times
 * @returns {Promise<Round>}
 */
export async function measure(shape, server, times) {
  const core = shape.cores === 1 ? serverCore : undefined;
  const running = await server.start({ shape, core, times });
  let result;
  try {
    result = await (shape.run === undefined
      ? underLoad(shape, running, times)
      : shape.run(running, times));
  } catch (error) {
    // How the server ended is the better half of the story.
    const end = await running.stop().catch((endError) => endError);
    if (end instanceof Error) error.message += `\n${end.message}`;
    throw error;
  }
  await running.stop();
  return result;
}

/** Warms the server up, and puts it under a shape's load. */
export async function underLoad(shape, { port, pid }, { seconds, warmupSeconds }) {
  const isPinned = shape.cores === 1;
  const flags = { ...shape.load, port };
  // What JavaScript's heap grows by under load must not be taken for the idle connections' memory.
  const warmSeconds = shape.idle === undefined ? warmupSeconds : Math.max(warmupSeconds, seconds);
  await runLoad({ ...warmUp(flags), warmupSeconds: 0, seconds: warmSeconds }, { isPinned });
  const emptyRssBytes = shape.idle && (await restingRss(pid));
  const idle = shape.idle && (await holdIdle({ ...shape.idle, port }));
  const load = { ...flags, warmupSeconds: warmupSeconds / 3, seconds };
  const result = await countedLoad(load, pid, { isPinned });
  const idleRssBytes = shape.idle && (await restingRss(pid));
  await idle?.end();
  return {
    ...result,
    ...(shape.idle && {
      rssKbPerIdle: (idleRssBytes - emptyRssBytes) / 1024 / shape.idle.connections,
    }),
  };
}

/** The generator's result with what the server used meanwhile, counted from outside. */
export async function countedLoad(flags, pid, { isPinned = true } = {}) {
  let before;
  let after;
  const result = await runLoad(flags, {
    isPinned,
    onMeasuring: () => {
      before = processStats(pid);
    },
    onMeasured: () => {
      after = processStats(pid);
    },
  });
  if (result.requests === 0) throw new Error('not one request was answered');
  return {
    ...result,
    ...usePerRequest(before, after, result.requests),
    rssMb: after.rssBytes / 2 ** 20,
  };
}

/**
 * JavaScript is compiled while it runs: a closed loop over several connections gets it there sooner
 * than the measured load may. Large frames need no more of them than will be used.
 */
function warmUp({ rate, markEvery, spin, ...flags }) {
  if (flags.bodyBytes !== undefined) return flags;
  return { ...flags, connections: Math.max(flags.connections, 64) };
}

async function restingRss(pid) {
  await delay(settleMs);
  return rssBytes(pid);
}
