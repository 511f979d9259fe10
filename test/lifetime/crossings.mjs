// Servers that start and close one after the other, in the main thread and in two workers at the
// same time, while clients reset; replies of every size cross.
import { Host, within } from './child.mjs';
import { Random } from './random.mjs';
import { sized, Traffic } from './traffic.mjs';

/** Every size up to a kilobyte, and those around which memory is arranged in another way. */
const edges = [4096, 16_384, 32_768, 65_536, 131_072, 1_048_576];
const sizes = [
  ...Array.from({ length: 1025 }, (_, size) => size),
  ...edges.flatMap((edge) => Array.from({ length: 9 }, (_, i) => edge - 6 + i)),
];
const sizesPerServer = 48;

async function cross(run, host, place, id, plan, random, index) {
  const job = host.begin(place, id, plan);
  const from = (index * sizesPerServer) % sizes.length;
  const block = sized(sizes.slice(from, from + sizesPerServer), random);
  const traffic = new Traffic(await job.has('port'), block, {
    connections: 6,
    resetChance: 0.2,
    random,
  });
  try {
    await within(traffic.flows(10 + random.below(30)), 'replies');
    if (place === 'serve') host.send({ command: 'close', id, timeoutMs: random.below(100) });
    else host.send({ command: 'terminate', id, spinUs: random.below(3000) });
    await job.has('exit');
    await within(traffic.ends(), 'the ends of all connections');
    run.add('replies', traffic.replies * sizesPerServer);
    run.add('resets', traffic.resets);
    return traffic.mistakes[0] ?? null;
  } finally {
    traffic.stop();
  }
}

/** Runs `count` servers in one host: two of three in its workers. */
export async function crossings(run, count) {
  const host = new Host(run);
  await host.ready();
  let next = 0;
  const lane = async (place) => {
    while (next < count) {
      const index = next++;
      const random = new Random(run.seed, 2_000_000 + index);
      const plan = {
        transport: run.transport,
        threads: random.below(4),
        handler: 'sized',
        ending: 'none',
        endAfter: -1,
      };
      await run.count('server', place === 'serve' ? 'main' : 'worker', index, plan, () =>
        cross(run, host, place, index, plan, random, index),
      );
    }
  };
  await Promise.all([lane('serve'), lane('work'), lane('work')]);
  await run.count('host', 'of crossings', 0, {}, () => host.end());
}
