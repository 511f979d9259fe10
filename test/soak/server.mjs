// The soak's server, in a process of its own: does what the driver asks for by messages, and tells of
// every connection's end. When it is told to close, it says what is
// left, and must then end by itself. Runs on the built package.
import { readdirSync, readFileSync } from 'node:fs';
import { SocketServer } from 'odradek';
import { mostConnections, mostRequests, readRequest, replyHead } from './wire.mjs';

const plan = JSON.parse(process.argv[2]);
const begun = new Uint8Array(new SharedArrayBuffer(mostRequests));
const running = new Int32Array(new SharedArrayBuffer(4 * mostConnections));
const told = { lost: 0, timedOut: 0, failed: 0, started: 0, losses: 0, resizes: 0 };
const mistakes = [];

/** The connection's next request may begin from here on. */
function onHandlerError(error, { body }) {
  const { id, connection, sequence, isFatal } = readRequest(body);
  if (Math.floor(Atomics.load(running, connection) / 1000) === sequence + 1) {
    Atomics.store(running, connection, 0);
  }
  if (error.code === 'ERR_ODRADEK_HANDLER_LOST') {
    told.lost++;
    // A thread without memory may end between the claim and the handler.
    const isSudden = error.cause?.code === 'ERR_WORKER_OUT_OF_MEMORY';
    if (begun[id] === 0 && !isSudden) mistakes.push(`request ${id} was lost before it had begun`);
  } else if (error.code === 'ERR_ODRADEK_HANDLER_TIMEOUT') {
    told.timedOut++;
  } else {
    told.failed++;
  }
  return isFatal ? undefined : replyHead(id, error.code ?? error.message);
}

const server = new SocketServer({
  listeners: [{ port: 0 }],
  transport: plan.transport,
  networkThreads: plan.networkThreads,
  queuedMaxRequests: plan.queuedMaxRequests,
  maxInFlightPerConnection: plan.maxInFlight,
  handlerTimeoutMs: plan.handlerTimeoutMs,
  onHandlerError,
  handlerPool: {
    module: new URL('./handlers.mjs', import.meta.url),
    threads: plan.threads,
    affinity: plan.affinity,
    concurrency: plan.concurrency,
    data: { begun, running, isExclusive: plan.maxInFlight === 1 },
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 8 },
  },
});
server.on('connectionClosed', ({ remotePort }, reason) => {
  process.send({ event: 'closed', port: remotePort, reason });
});
server.on('handlerThreadLost', ({ started }) => {
  told.losses++;
  told.started += started;
});
server.on('handlerError', (error, request) => {
  // A hook or a teardown.
  if (request === null) mistakes.push(`without a request: ${error.stack}`);
});
server.on('acceptError', (error) => mistakes.push(`acceptError: ${error.message}`));
server.on('fatal', (error) => mistakes.push(`fatal: ${error.message}`));

const commands = {
  async resizeHandlerPool(threads) {
    await server.resizeHandlerPool(threads);
    told.resizes++;
  },
  async resizeNetworkThreads(threads) {
    if (typeof server.resizeNetworkThreads !== 'function') return;
    await server.resizeNetworkThreads(threads);
    told.resizes++;
  },
  metrics: () => server.metrics(),
  async close(timeoutMs) {
    const from = performance.now();
    const summary = await server.close({ timeoutMs });
    const tookMs = performance.now() - from;
    const peakBytes = process.resourceUsage().maxRSS * 1024;
    return { summary, tookMs, peakBytes, told, mistakes, metrics: server.metrics(), left: left() };
  },
};

/** Threads of the server that should be gone. */
function left() {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc/self/task')
    .map(nameOfThread)
    .filter((name) => name.startsWith('odradek-'));
}

function nameOfThread(task) {
  try {
    return readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim();
  } catch {
    return ''; // it has just ended
  }
}

process.on('message', async ({ number, command, argument }) => {
  try {
    const value = await commands[command](argument);
    // Nothing but the server may have kept the process.
    process.send({ number, value }, () => {
      if (command === 'close') process.disconnect();
    });
  } catch (error) {
    process.send({ number, error: error.stack });
  }
});
await server.start();
process.send({ event: 'port', port: server.address().port });
