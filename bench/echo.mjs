// The first measurement: an echo of 128-byte frames over each transport, in interleaved rounds.
//
//   npm run bench:echo [-- rounds seconds]
//
// The load generator has one core and the server the other where the machine has two or more.
// Ratios between transports of one run mean something; absolute numbers belong to the machine.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 2);
const variants = ['native', 'native, networkThreads 0', 'js'];
// Spinning is for connections that wait for every answer.
const spinning = ['native, busyPollUs 100', 'native, networkThreads 0, busyPollUs 100'];
const shapes = [
  { connections: 1, pipeline: 1 },
  { connections: 64, pipeline: 1 },
  { connections: 64, pipeline: 16 },
];
const bodyBytes = 128;
const canPin = process.platform === 'linux' && availableParallelism() > 1;

const load = `${root}build/load`;
mkdirSync(`${root}build`, { recursive: true });
execFileSync('c++', ['-std=c++20', '-O2', '-o', load, `${root}native/bench/load.cc`]);

function pinned(core, command, args) {
  return canPin ? ['taskset', ['-c', String(core), command, ...args]] : [command, args];
}

function startServer(variant) {
  const [command, args] = pinned(0, process.execPath, [`${root}bench/echo-server.mjs`, variant]);
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async () => JSON.parse((await lines.next()).value);
  return { child, read, mark: () => child.stdin.write('\n') };
}

async function measure(variant, { connections, pipeline }) {
  const server = startServer(variant);
  const { port } = await server.read();
  const run = (time) => {
    const [command, args] = pinned(
      1,
      load,
      [port, connections, pipeline, bodyBytes, time].map(String),
    );
    return new Promise((resolve, reject) => {
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      child.stdout.on('data', (chunk) => {
        text += chunk;
      });
      child.on('close', (code) => (code === 0 ? resolve(JSON.parse(text)) : reject(code)));
    });
  };
  await run(seconds / 2);
  server.mark();
  const client = await run(seconds);
  server.mark();
  const used = await server.read();
  server.child.stdin.end();
  await new Promise((resolve) => server.child.on('close', resolve));
  const per = (count) => count / used.requests;
  return {
    perSecond: client.perSecond,
    p50us: client.p50us,
    p99us: client.p99us,
    cpuUs: per(used.userUs + used.systemUs),
    userUs: per(used.userUs),
    calls: per(used.reads + used.writes + used.polls + used.wakes),
    rssMb: used.rssMb,
  };
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

const results = new Map();
for (let round = 0; round < rounds; round++) {
  for (const shape of shapes) {
    const isSingle = shape.connections * shape.pipeline === 1;
    for (const variant of isSingle ? [...variants, ...spinning] : variants) {
      const key = `${shape.connections}x${shape.pipeline} ${variant}`;
      const list = results.get(key) ?? [];
      list.push(await measure(variant, shape));
      results.set(key, list);
    }
  }
}

console.log(`${rounds} interleaved rounds of ${seconds} s, ${bodyBytes}-byte frames, medians`);
console.log(
  '| shape | req/s (min-max) | p50 us | p99 us | CPU us/req (user) | calls/req | RSS MB |',
);
console.log('|---|---|---|---|---|---|---|');
for (const [key, list] of results) {
  const of = (name) => list.map((result) => result[name]);
  const k = (value) => `${Math.round(value / 1000)} k`;
  const range = `${k(Math.min(...of('perSecond')))}-${k(Math.max(...of('perSecond')))}`;
  const calls = key.endsWith('js') ? '' : median(of('calls')).toFixed(2);
  console.log(
    `| ${key} | ${k(median(of('perSecond')))} (${range}) | ${median(of('p50us')).toFixed(0)} ` +
      `| ${median(of('p99us')).toFixed(0)} | ${median(of('cpuUs')).toFixed(2)} ` +
      `(${median(of('userUs')).toFixed(2)}) | ${calls} | ${median(of('rssMb'))} |`,
  );
}
