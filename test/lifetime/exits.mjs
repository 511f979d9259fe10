// Processes that run a server come to their end in every way there is, with traffic in flight.
import { Child, sleep, within } from './child.mjs';
import { Random } from './random.mjs';
import { echoed, Traffic } from './traffic.mjs';

const sizes = {
  echo: [100, 20_000, 0],
  pending: [100, 20_000, 0],
  keep: [100, 300_000, 17_000],
  busy: new Array(1500).fill(1),
};

/**
 * By kind: the code or the signal by which the process ends, and what it says of an error. By
 * `signal` it is sent one.
 */
const kinds = {
  close: { code: 0 },
  unref: { code: 0 },
  // There is more to do at the end of every turn.
  unrefBusy: { code: 0, handler: 'busy', threads: 0, ending: 'unref' },
  exitInHandler: { code: 7 },
  exitInTimer: { code: 7 },
  throwInTimer: { code: 1, says: 'Error: thrown in a timer' },
  throwInListener: { code: 1, says: 'Error: thrown in a listener' },
  throwInSubscriber: { code: 1, says: 'Error: thrown in a subscriber' },
  throwInCallback: {
    code: 1,
    says: 'Error: thrown in the callback',
    handler: 'echo',
    isNativeOnly: true,
  },
  catchInCallback: { code: 0, handler: 'echo', isNativeOnly: true },
  SIGTERM: { signal: 'SIGTERM' },
  SIGINT: { signal: 'SIGINT' },
  closeOnSignal: { code: 0, sends: 'SIGTERM' },
  exitWithWorker: { code: 7 },
};

async function exit(run, kind, plan, random) {
  const { code = null, signal = null, sends = signal, says = null } = kinds[kind];
  const child = new Child(run, './server.mjs', [JSON.stringify(plan)], 'pipe');
  let traffic = null;
  try {
    const told = await within(child.line(), 'the port');
    if (told === null) return `ended before it served: ${child.stderr}`;
    traffic = new Traffic(told.port, echoed(sizes[plan.handler]));
    if (sends !== null) {
      await within(traffic.flows(1 + random.below(20)), 'replies');
      await sleep(random.below(20));
      child.process.kill(sends);
    }
    // Nothing but its clients' leave keeps a process whose server is unref'd.
    const end = await within(child.ended, 'the end of the process');
    await within(traffic.ends(), 'the ends of all connections');
    if (end.code !== code || end.signal !== signal) {
      return `code ${end.code}, signal ${end.signal}: ${child.stderr}`;
    }
    const isRight = says === null ? child.stderr === '' : child.stderr.includes(says);
    if (!isRight) return `stderr: ${child.stderr}`;
    return traffic.mistakes[0] ?? null;
  } finally {
    traffic?.stop();
    child.kill();
  }
}

/** Runs `count` exits, some at a time. */
export async function exits(run, count) {
  const names = Object.keys(kinds).filter(
    (kind) => run.transport === 'native' || !kinds[kind].isNativeOnly,
  );
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const index = next++;
      const random = new Random(run.seed, 1_000_000 + index);
      const kind = names[index % names.length];
      const plan = {
        transport: run.transport,
        threads: kinds[kind].threads ?? random.below(4),
        handler: kinds[kind].handler ?? random.pick(['echo', 'pending', 'keep']),
        ending: kinds[kind].ending ?? kind,
        endAfter: 1 + random.below(200),
        closeMs: 20 + random.below(50),
      };
      await run.count('exit', kind, index, plan, () => exit(run, kind, plan, random));
    }
  };
  await Promise.all([lane(), lane(), lane()]);
}
