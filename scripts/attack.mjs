// Attacks a server that has its default limits, one attack after the other, while a client that behaves goes on
// asking on a connection of its own. Fails if that one gets a wrong answer or none, if descriptors are left
// over, or if the server's memory grows by more than it may.
//
//   node scripts/attack.mjs [--transport native|js] [--only NAME] [--scale 1] [--hold SECONDS]
//
// Ends with a table and a line `N attacks, N failed`. The package must be built.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { attacks } from '../test/attacks/attackers.mjs';

const { values: options } = parseArgs({
  options: {
    transport: { type: 'string', default: 'native' },
    only: { type: 'string' },
    scale: { type: 'string', default: '1' },
    hold: { type: 'string', default: '70' },
  },
});

/** What the server's limits allow, in MiB: `queuedMaxRequestBytes` and `maxUnsentBytes`. */
const capsMb = 128 + 256;
/** And this: connections, heaps that were not collected yet, what the process keeps for later use. */
const besidesMb = 128;
/** By how much a server may grow. */
const mostGrowthMb = capsMb + besidesMb;
/** The server's descriptors, where they are to run out. */
const fewDescriptors = 300;
/** How long descriptors may take to come back. */
const patienceMs = 30_000;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** A process that says lines, and ends with its standard input. */
class Program {
  constructor(command, args) {
    this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  async next() {
    const { value } = await this.lines.next();
    if (value === undefined) throw new Error('a process has ended');
    return value;
  }

  async end() {
    const ended = once(this.process, 'exit');
    this.process.stdin.end();
    await ended;
  }
}

function memoryMb(pid, field) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024);
}

const descriptorsOf = (pid) => readdirSync(`/proc/${pid}/fd`).length;

async function attack(name) {
  const node = [process.execPath, here('../test/attacks/server.mjs'), options.transport];
  const server =
    name === 'descriptors'
      ? new Program('sh', ['-c', `ulimit -n ${fewDescriptors}; exec "$@"`, 'sh', ...node])
      : new Program(node[0], node.slice(1));
  const { port } = JSON.parse(await server.next());
  const { pid } = server.process;
  const victim = new Program(process.execPath, [here('../test/attacks/victim.mjs'), String(port)]);
  await victim.next();
  await pause(500);
  const before = { mb: memoryMb(pid, 'VmRSS'), descriptors: descriptorsOf(pid) };
  let peak = 0;
  const watch = setInterval(() => {
    peak = Math.max(peak, descriptorsOf(pid));
  }, 100);
  const failures = [];
  const saw = await attacks[name](port, Number(options.scale), Number(options.hold) * 1000).catch(
    (error) => {
      failures.push(error.message);
      return 'failed';
    },
  );
  clearInterval(watch);
  const until = Date.now() + patienceMs;
  while (descriptorsOf(pid) > before.descriptors && Date.now() < until) await pause(50);
  const after = descriptorsOf(pid);
  await pause(500);
  victim.process.stdin.end();
  const served = JSON.parse(await victim.next());
  server.process.stdin.write('\n');
  const { listener, reasons } = JSON.parse(await server.next());
  const peakMb = memoryMb(pid, 'VmHWM');
  await server.end();
  if (served.wrong > 0) failures.push(`${served.wrong} wrong answers`);
  if (served.end !== null) failures.push(`the client that behaves was cut off: ${served.end}`);
  if (after > before.descriptors)
    failures.push(`${after - before.descriptors} descriptors are left`);
  if (peakMb > before.mb + mostGrowthMb) failures.push(`memory grew to ${peakMb} MiB`);
  return { name, saw, served, before, peak, after, peakMb, listener, reasons, failures };
}

function row({ name, saw, served, before, peak, after, peakMb, listener, reasons }) {
  const codes = Object.entries(reasons).map(([code, count]) => `${code} ${count}`);
  const { connectionsRefusedTotal, connectionsThrottledTotal } = listener;
  const turnedAway = `refused ${connectionsRefusedTotal}, throttled ${connectionsThrottledTotal}`;
  const ms = (value) => value.toFixed(1);
  return `| ${[
    name,
    saw,
    [...codes, turnedAway].join(', '),
    `${served.requests}, ${served.wrong} wrong`,
    `${ms(served.p50)}, ${ms(served.p99)}, ${ms(served.worst)} ms`,
    `${before.mb}, ${peakMb} MiB`,
    `${before.descriptors}, ${peak}, ${after}`,
  ].join(' | ')} |`;
}

const names = options.only === undefined ? Object.keys(attacks) : [options.only];
const results = [];
for (const name of names) {
  const result = await attack(name);
  results.push(result);
  for (const failure of result.failures) console.error(`FAILED ${name}: ${failure}`);
  console.log(`${name}: ${result.saw}`);
}
console.log(`
| attack | the attacker saw | how its connections ended | the other's requests | p50, p99, worst | memory before, peak | descriptors before, peak, after |
|---|---|---|---|---|---|---|
${results.map(row).join('\n')}
`);
const failed = results.filter(({ failures }) => failures.length > 0).length;
console.log(`${options.transport}: ${results.length} attacks, ${failed} failed`);
// Whatever is left of the attackers' sockets holds nobody.
process.exit(failed === 0 ? 0 : 1);
