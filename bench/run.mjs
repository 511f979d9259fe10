// npm run bench: measures, prints a report, saves the numbers. `npm run bench -- --help` says more.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { buildFolder } from './load.mjs';
import { describeMachine } from './machine.mjs';
import { makeReport, publish } from './report.mjs';
import { runRounds } from './rounds.mjs';
import { selectOnly } from './select.mjs';
import { suites } from './suites.mjs';

const usage = `npm run bench [-- flags]

  --quick          one short round of each: shows that everything runs; its numbers mean little
  --only NAME      a shape or a server, or several by NAME*; may be given several times
  --rounds N       default 3
  --seconds N      measured time of each round, default 1.5
  --minutes N      no measurement is begun after so many, default 16
  --publish        put the report and the picture into docs/benchmarks.md
  --from FILE      report an earlier run instead: ${'`build/bench/results.json`'} is the last one's
  --list           print which servers run which shapes, and why
`;

const full = {
  rounds: 3,
  times: { seconds: 1.5, warmupSeconds: 0.5, keptWarmupSeconds: 8 },
  minutes: 16,
};
const quick = {
  rounds: 1,
  times: { seconds: 0.3, warmupSeconds: 0.2, keptWarmupSeconds: 1 },
  minutes: 2,
};
const savedAs = `${buildFolder}/results.json`;

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    minutes: { type: 'string' },
    publish: { type: 'boolean', default: false },
    from: { type: 'string' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (flags.help) {
  console.log(usage);
} else if (flags.list) {
  list();
} else {
  const run = flags.from === undefined ? await measureAll() : readRun(flags.from);
  const report = makeReport(run, suites);
  console.log(`\n${report.markdown}`);
  if (flags.publish) publish(report);
  process.exitCode = run.results.rows.some(({ failures }) => failures.length > 0) ? 1 : 0;
}

async function measureAll() {
  const plan = planOf(flags);
  for (const suite of suites) await suite.build?.();
  const selected = selectOnly(suites, flags.only);
  const deadline = performance.now() + plan.minutes * 60_000;
  const machine = describeMachine();
  const results = { rows: [], absent: {} };
  // One after the other: servers that a suite keeps must not disturb those of another.
  for (const suite of suites) {
    const part = await measureSuite(suite, selected, { ...plan, deadline, log: console.error });
    results.rows.push(...part.rows);
    Object.assign(results.absent, part.absent);
    results.cutShort ??= part.cutShort;
  }
  const run = { machine, command: commandLine(), ...plan, results };
  writeFileSync(savedAs, `${JSON.stringify(run, null, 2)}\n`);
  return run;
}

async function measureSuite(suite, selected, plan) {
  const shapes = suite.shapes.filter((shape) => selected.shapes.includes(shape));
  const servers = suite.servers.filter((server) => selected.servers.includes(server));
  try {
    return await runRounds({ ...plan, shapes, servers });
  } finally {
    for (const server of servers) await server.end?.();
  }
}

/** As it was typed, but for `--publish`, which changes no number. */
function commandLine() {
  const given = process.argv.slice(2).filter((flag) => flag !== '--publish');
  const quoted = given.map((text) => (/[^\w./-]/.test(text) ? `'${text}'` : text));
  return ['npm run bench', ...(quoted.length > 0 ? ['--'] : []), ...quoted].join(' ');
}

function planOf({ quick: isQuick, rounds, seconds, minutes }) {
  const plan = isQuick ? quick : full;
  return {
    rounds: positive(rounds, plan.rounds),
    times: { ...plan.times, seconds: positive(seconds, plan.times.seconds) },
    minutes: positive(minutes, plan.minutes),
    isQuick,
  };
}

function positive(text, standard) {
  if (text === undefined) return standard;
  const value = Number(text);
  if (value > 0) return value;
  throw new Error(`${text} is no number above 0`);
}

function readRun(file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}

function list() {
  for (const shape of suites.flatMap((suite) => suite.shapes)) {
    console.log(`${shape.name}: ${shape.about}`);
    console.log(`  ${shape.servers.join('; ')}`);
    console.log(`  ${shape.why}`);
  }
}
