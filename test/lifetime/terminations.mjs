// Workers that run a server come to their end at random moments, with traffic in flight.
import { Host, sleep, within } from './child.mjs';
import { Random } from './random.mjs';
import { echoed, Traffic } from './traffic.mjs';

const small = [100, 20_000, 0];
const large = [100, 300_000, 17_000, 1_000_000];

/** By kind: the plan, and what leads to the moment in which terminate() is called. */
const kinds = {
  idle: {
    plan: () => ({}),
    lead: async () => undefined,
  },
  load: {
    plan: () => ({}),
    lead: async ({ traffic, random }) => {
      await traffic.flows(random.below(60));
      await sleep(random.below(20));
    },
  },
  // JavaScript sleeps in between, so that each request rings, also the first one after the end.
  quiet: {
    plan: () => ({ threads: 1 }),
    sizes: [100],
    traffic: { connections: 1, pauseMs: 8 },
    lead: async ({ traffic, random }) => {
      await traffic.flows(random.below(10));
      await sleep(random.below(8));
    },
  },
  handler: {
    plan: (random) => ({ ending: 'stay', endAfter: 1 + random.below(300) }),
    lead: async ({ job }) => {
      await job.has('moment');
    },
  },
  pending: {
    plan: () => ({ handler: 'pending' }),
    lead: async ({ traffic, random }) => {
      await traffic.flows(1 + random.below(20));
      await sleep(random.below(10));
    },
  },
  starting: {
    plan: () => ({ ending: 'starting' }),
    isEarly: true,
    lead: async ({ job }) => {
      await job.has('moment');
    },
  },
  closing: {
    plan: (random) => ({
      ending: 'closing',
      handler: random.pick(['echo', 'pending']),
      endAfter: 1 + random.below(300),
      closeMs: random.below(30),
    }),
    lead: async ({ job, random }) => {
      await job.has('moment');
      await sleep(random.below(10));
    },
  },
  large: {
    plan: () => ({ handler: 'keep' }),
    sizes: large,
    lead: async ({ traffic, random }) => {
      await traffic.flows(1 + random.below(8));
      await sleep(random.below(20));
    },
  },
  // These end by themselves.
  exit: { plan: (random) => ({ ending: random.pick(['exitInHandler', 'exitInTimer']) }), code: 7 },
  throw: {
    plan: () => ({ ending: 'throwInTimer' }),
    error: 'thrown in a timer',
  },
  callback: {
    plan: () => ({ ending: 'throwInCallback' }),
    error: 'thrown in the callback',
    isNativeOnly: true,
  },
};

async function terminate(host, index, kind, plan, random) {
  const { lead, sizes = small, code = 1, error = null, isEarly = false } = kinds[kind];
  const options = { ...kinds[kind].traffic, random: new Random(random.below(2 ** 31), 0) };
  const job = host.begin('work', index, plan);
  const traffic = isEarly || kind === 'idle' ? null : await begin(job, sizes, options);
  try {
    if (kind === 'idle') await job.has('port');
    if (lead !== undefined) {
      await lead({ job, traffic, random });
      host.send({ command: 'terminate', id: index, spinUs: random.below(3000) });
    }
    const exit = await job.has('exit');
    if (traffic !== null) await within(traffic.ends(), 'the ends of all connections');
    if (exit !== code) return `exit code ${exit} instead of ${code}`;
    if (job.error !== error) return `error ${job.error} instead of ${error}`;
    return traffic?.mistakes[0] ?? null;
  } finally {
    traffic?.stop();
  }
}

async function begin(job, sizes, options) {
  return new Traffic(await job.has('port'), echoed(sizes), options);
}

/** Runs `count` terminations, some at a time, many in one host. */
export async function terminations(run, count) {
  const names = Object.keys(kinds).filter(
    (kind) => run.transport === 'native' || !kinds[kind].isNativeOnly,
  );
  const perHost = 25;
  for (let first = 0; first < count; first += perHost) {
    const host = new Host(run);
    const indices = Array.from({ length: Math.min(perHost, count - first) }, (_, i) => first + i);
    const lane = async () => {
      for (let index = indices.shift(); index !== undefined; index = indices.shift()) {
        const random = new Random(run.seed, index);
        const kind = names[index % names.length];
        const plan = {
          transport: run.transport,
          threads: random.below(4),
          handler: 'echo',
          endAfter: 1 + random.below(300),
          ...kinds[kind].plan(random),
        };
        await run.count('termination', kind, index, plan, () =>
          terminate(host, index, kind, plan, random),
        );
      }
    };
    await Promise.all([lane(), lane(), lane()]);
    await run.count('host', 'of terminations', first, {}, () => host.end());
  }
}
