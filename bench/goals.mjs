// The speeds to reach, each as a check of a run's summary.

/**
 * @typedef {object} Goal
 * @property {string} shape
 * @property {string} text what is to be reached
 * @property {(summary: import('./summary.mjs').Summary) => Measured | undefined} check undefined
 *   if a row that it needs wasn't measured
 *
 * @typedef {{ isMet: boolean, measured: string }} Measured
 */

/** @typedef {{ shape: string, text: string, status: 'met' | 'missed' | 'not measured',
 *   measured: string }} Verdict */

/** @returns {Verdict[]} */
export function judge(goals, summary) {
  return goals.map(({ shape, text, check }) => {
    const result = check(summary);
    if (result === undefined) return { shape, text, status: 'not measured', measured: '' };
    return { shape, text, status: result.isMet ? 'met' : 'missed', measured: result.measured };
  });
}

export const metricNames = {
  perSecond: 'requests a second',
  cpuUs: 'CPU per request',
  perCpuSecond: 'requests a CPU second',
  p50Us: 'p50',
  p99Us: 'p99',
  rssKbPerIdle: 'memory of an idle connection',
};

/** The ratio of one server's metric to another's, in a shape, is at least, or at most, so much. */
export function ratioGoal(shape, server, metric, bound, other) {
  const isAtLeast = bound.atLeast !== undefined;
  const limit = isAtLeast ? bound.atLeast : bound.atMost;
  return {
    shape,
    text: `${server}: ${metricNames[metric]} ${isAtLeast ? '>=' : '<='} ${limit} of ${other}`,
    check(summary) {
      const ratio = summary.ratio(shape, server, other, metric);
      if (ratio === undefined) return undefined;
      return {
        isMet: isAtLeast ? ratio.median >= limit : ratio.median <= limit,
        measured: formatRatio(ratio),
      };
    },
  };
}

/** `1.23 (1.20-1.31)` */
export function formatRatio(ratio) {
  return withSpread(ratio, (value) => value.toFixed(2));
}

/** A median, and between which values the rounds lie if there are several. */
export function withSpread({ median, least, most }, format) {
  if (least === most) return format(median);
  return `${format(median)} (${format(least)}-${format(most)})`;
}

const atLeast = (limit) => ({ atLeast: limit });
const atMost = (limit) => ({ atMost: limit });

/** @type {Goal[]} */
export const echoGoals = [
  ratioGoal('64x1', 'native', 'perSecond', atLeast(0.95), 'floor'),
  ratioGoal('64x1', 'native', 'perSecond', atLeast(1.7), 'node:net'),
  ratioGoal('64x1', 'native', 'perSecond', atLeast(1), 'Bun'),
  ratioGoal('64x1', 'native', 'cpuUs', atMost(1.1), 'floor'),

  ratioGoal('64x16', 'native', 'perSecond', atLeast(0.7), 'floor'),
  ratioGoal('64x16', 'native', 'perSecond', atLeast(2), 'node:net'),
  ratioGoal('64x16', 'native', 'perSecond', atLeast(1), 'Bun'),
  ratioGoal('64x16', 'native', 'cpuUs', atMost(1.7), 'floor'),
  fastestConfiguration('64x16', 1.45),
  asyncHandler(0.8),

  ratioGoal('64x1', 'native', 'perSecond', atLeast(0.97), 'native, no limits'),
  ratioGoal('64x16', 'native', 'perSecond', atLeast(0.97), 'native, no limits'),

  ratioGoal('512x16', 'native', 'perSecond', atLeast(0.6), 'floor'),

  ratioGoal('5,000/s', 'native', 'cpuUs', atMost(1), 'node:net'),
  ratioGoal('5,000/s', 'native', 'p99Us', atMost(1), 'node:net'),
  ratioGoal('20,000/s', 'native', 'cpuUs', atMost(1), 'node:net'),
  ratioGoal('20,000/s', 'native', 'p99Us', atMost(1), 'node:net'),

  ratioGoal('storm', 'native', 'perSecond', atLeast(2), 'node:net'),

  ratioGoal('32x1 of 64 KiB', 'native', 'cpuUs', atMost(1.3), 'floor'),
  ratioGoal('8x1 of 1 MiB', 'native', 'cpuUs', atMost(1.3), 'floor'),

  ratioGoal('1x1 busy-poll', 'native, inline, busy-poll', 'p50Us', atMost(1.4), 'floor, busy-poll'),

  ratioGoal(
    '64x1, 1 ms of work',
    'native, pool of 2',
    'perSecond',
    atLeast(1.7),
    'native, pool of 1',
  ),
  othersOfBlocked(10),

  memoryOfIdle('64x1, 10,000 idle', 1),
  memoryOfIdle('64x1, 10,000 idle after 64 KiB', 1),
  effectOfIdle('64x1, 10,000 idle'),
];

/** The least CPU time of any configuration of ours that the docs describe. */
function fastestConfiguration(shape, limit) {
  const configurations = ['native', 'native, 1 thread'];
  return {
    shape,
    text: `the fastest documented configuration: CPU per request <= ${limit} of floor`,
    check(summary) {
      const [best] = configurations
        .map((server) => ({ server, ratio: summary.ratio(shape, server, 'floor', 'cpuUs') }))
        .filter(({ ratio }) => ratio !== undefined)
        .sort((a, b) => a.ratio.median - b.ratio.median);
      if (best === undefined) return undefined;
      return {
        isMet: best.ratio.median <= limit,
        measured: `${best.server}: ${formatRatio(best.ratio)}`,
      };
    },
  };
}

function asyncHandler(limit) {
  return {
    shape: '64x16 async',
    text: `native: requests a second >= ${limit} of a synchronous handler's`,
    check(summary) {
      const ratio = summary.ratioBetween(
        ['64x16 async', 'native'],
        ['64x16', 'native'],
        'perSecond',
      );
      if (ratio === undefined) return undefined;
      return { isMet: ratio.median >= limit, measured: formatRatio(ratio) };
    },
  };
}

function othersOfBlocked(limitMs) {
  const shape = '2,000/s, 1 in 1000 blocks';
  return {
    shape,
    text: `native, pool of 4: p99 of the requests that don't block < ${limitMs} ms`,
    check(summary) {
      const p99 = summary.figure(shape, 'native, pool of 4', 'p99Us');
      if (p99 === undefined) return undefined;
      const theirs = summary.figure(shape, 'node:net', 'p99Us');
      const compared = theirs === undefined ? '' : `; node:net ${formatMs(theirs)}`;
      return { isMet: p99.median < limitMs * 1000, measured: `${formatMs(p99)}${compared}` };
    },
  };
}

function formatMs(figure) {
  return `${withSpread(figure, (us) => (us / 1000).toFixed(1))} ms`;
}

function memoryOfIdle(shape, limitKb) {
  return {
    shape,
    text: `native: RSS <= ${limitKb} KB an idle connection above the empty server`,
    check(summary) {
      const kb = summary.figure(shape, 'native', 'rssKbPerIdle');
      if (kb === undefined) return undefined;
      return { isMet: kb.median <= limitKb, measured: `${formatRatio(kb)} KB` };
    },
  };
}

/** Noise is what the rounds of the same load without idle connections differ by. */
function effectOfIdle(shape) {
  return {
    shape,
    text: 'native: p99 of the active connections no worse than in a round without idle ones',
    check(summary) {
      const p99 = summary.figure(shape, 'native', 'p99Us');
      const alone = summary.figure('64x1', 'native', 'p99Us');
      if (p99 === undefined || alone === undefined) return undefined;
      return {
        isMet: p99.median <= alone.most,
        measured: `${formatMs(p99)}; without ${formatMs(alone)}`,
      };
    },
  };
}
