// The server under test: echoes frames in the variant named on the command line, prints its
// port, and its counters and CPU time between two lines on its standard input.
import { createInterface } from 'node:readline';
import { SocketServer } from 'odradek';

const variants = {
  native: { transport: 'native' },
  'native, busyPollUs 100': { transport: 'native', busyPollUs: 100 },
  'native, networkThreads 0': { transport: 'native', networkThreads: 0 },
  'native, networkThreads 0, busyPollUs 100': {
    transport: 'native',
    networkThreads: 0,
    busyPollUs: 100,
  },
  js: { transport: 'js' },
};
const isAsync = process.argv[3] === 'async';
const server = new SocketServer({
  listeners: [{ port: 0 }],
  ...variants[process.argv[2]],
  handler: isAsync ? async (request) => request.body : (request) => request.body,
});
await server.start();
console.log(JSON.stringify({ port: server.address().port }));

let before = null;
for await (const _line of createInterface({ input: process.stdin })) {
  const now = { cpu: process.cpuUsage(), metrics: server.metrics() };
  if (before === null) {
    before = now;
    continue;
  }
  const [from] = before.metrics.processors;
  const [to] = now.metrics.processors;
  const difference = (name) => to[name] - from[name];
  console.log(
    JSON.stringify({
      userUs: now.cpu.user - before.cpu.user,
      systemUs: now.cpu.system - before.cpu.system,
      rssMb: Math.round(process.memoryUsage().rss / 2 ** 20),
      requests: now.metrics.requestsTotal - before.metrics.requestsTotal,
      turns: difference('turns'),
      reads: difference('readCalls'),
      writes: difference('writeCalls'),
      polls: difference('pollCalls'),
      wakes: difference('wakeCalls'),
    }),
  );
  before = null;
}
await server.close({ timeoutMs: 0 });
