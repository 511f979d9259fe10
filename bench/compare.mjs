// npm run bench:compare: two odradek servers side by side, in windows so short that what disturbs the
// machine disturbs both. Shows differences of a few percent, which whole rounds (run.mjs) don't.
import { parseArgs } from 'node:util';
import { buildLoad, runLoad } from './load.mjs';
import { countedLoad } from './measure.mjs';
import { serverCore, startServerProcess } from './server-process.mjs';
import { figureOf } from './summary.mjs';
import { number, rate, table } from './table.mjs';

const usage = `npm run bench:compare [-- flags] [OPTIONS OPTIONS]

The two servers' options as JSON, as bench/servers/odradek.mjs takes them; without them the limits are
off ('{"limits":"off"}') against all defaults ('{}').

  --shape CxP      connections, and requests of each at once; default 64x16
  --async          the handler is an async function
  --checkout DIR   of the first server: another commit, built
  --launches N     so often both are started anew, default 8: how code is compiled differs each time
  --windows N      of each launch, default 12
  --warm-up S      seconds for each launch, default 2.5: until all that is hot has been compiled
`;

/** Longer ones are no better: this is a hundred times what a turn takes. */
const windowTimes = { seconds: 0.2, warmupSeconds: 0.05 };
const root = new URL('..', import.meta.url).pathname;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: 'string', default: '64x16' },
    async: { type: 'boolean', default: false },
    checkout: { type: 'string', default: root },
    launches: { type: 'string', default: '8' },
    windows: { type: 'string', default: '12' },
    'warm-up': { type: 'string', default: '2.5' },
    help: { type: 'boolean', default: false },
  },
});

if (flags.help) console.log(usage);
else await compare();

async function compare() {
  const [connections, pipeline] = flags.shape.split('x').map(Number);
  const load = { connections, pipeline };
  const [first = '{"limits":"off"}', second = '{}'] = positionals;
  const servers = [
    { name: first, folder: flags.checkout, options: first, windows: [] },
    { name: second, folder: root, options: second, windows: [] },
  ];
  if (flags.checkout !== root) servers[0].name += ` of ${flags.checkout}`;
  buildLoad();
  for (let launch = 0; launch < Number(flags.launches); launch++) {
    await measureLaunch(launch % 2 === 0 ? servers : servers.toReversed(), load);
  }
  console.log(`\n${flags.shape}${flags.async ? ', async handler' : ''}, one core\n`);
  console.log(report(servers));
}

/** Both servers run all the time, and one at a time has something to do. */
async function measureLaunch(servers, load) {
  const running = [];
  const env = flags.async ? { BENCH_ASYNC: '1' } : {};
  try {
    for (const { name, folder, options } of servers) {
      const args = [`${folder}/bench/servers/odradek.mjs`, options];
      running.push(
        await startServerProcess(name, process.execPath, args, { core: serverCore, env }),
      );
    }
    for (const { port } of running) {
      await runLoad({ ...load, port, seconds: Number(flags['warm-up']), warmupSeconds: 0 });
    }
    for (let window = 0; window < Number(flags.windows); window++) {
      const order = window % 2 === 0 ? [0, 1] : [1, 0];
      for (const i of order) {
        const { port, pid } = running[i];
        servers[i].windows.push(await countedLoad({ ...load, ...windowTimes, port }, pid));
      }
    }
  } finally {
    for (const server of running) await server.stop();
  }
}

/** What disturbs only adds: the least tenth says most of what the program itself takes. */
function report(servers) {
  const header = ['server', 'CPU us/req, least tenth', 'median', 'ratio', 'req/s', 'ratio'];
  return table(header, [row(servers[0]), row(servers[1], servers[0])]);
}

function row({ name, windows }, other) {
  const sorted = windows.map(({ cpuUs }) => cpuUs).sort((a, b) => a - b);
  const ratio = (metric) =>
    other && number(figureOf(windows.map((it, i) => it[metric] / other.windows[i][metric])).median);
  return [
    `\`${name}\``,
    number(sorted[Math.floor(sorted.length / 10)]),
    number(figureOf(sorted).median),
    ratio('cpuUs'),
    rate(figureOf(windows.map(({ perSecond }) => perSecond)).median),
    ratio('perSecond'),
  ];
}
