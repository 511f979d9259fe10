// A server whose handler forgets what it is given, in the way that its parent names; or many
// servers that are closed and forgotten. Says on demand what memory is in use when the garbage is
// collected. Needs --expose-gc; runs on the built package.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { SocketServer } from 'odradek';

const packageRoot = fileURLToPath(new URL('../..', import.meta.url));
const kept = [];
let handled = 0;
const collected = { requests: 0, servers: 0, natives: 0 };
const registry = new FinalizationRegistry((what) => collected[what]++);

const handlers = {
  drop: (request) => request.body,
  keep: (request) => {
    kept.push(request.body);
    return request.body;
  },
  // Promises that nobody awaits, and a signal that nobody listens to.
  promise: (request) => {
    void request.sent;
    void request.signal;
    return new Promise((resolve) => setImmediate(resolve, request.body));
  },
  // The client leaves before there is a reply.
  late: ({ body, signal }) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve(body))),
};

function makeServer(handler) {
  const server = new SocketServer({
    listeners: [{ port: 0 }],
    transport: process.argv[2],
    networkThreads: 2,
    handler: (request) => {
      handled++;
      registry.register(request, 'requests');
      return handlers[handler](request);
    },
  });
  registry.register(server, 'servers');
  return server;
}

/** The addon's own objects are behind private fields: its class is replaced by one that registers. */
function watchNatives() {
  const binding = createRequire(import.meta.url)('node-gyp-build')(packageRoot);
  binding.NativeServer = class extends binding.NativeServer {
    constructor(config) {
      super(config);
      registry.register(this, 'natives');
    }
  };
}

/** A turn of the event loop, in which finalizers run. */
function turn() {
  return new Promise((resolve) => setImmediate(resolve));
}

async function collect() {
  for (let i = 0; i < 8; i++) {
    global.gc();
    await turn();
  }
}

/** Handles of libuv by which native threads wake this one: one for each threadsafe function. */
function asyncHandles() {
  return process.report.getReport().libuv.filter(({ type }) => type === 'async').length;
}

let server = null;

const commands = {
  async serve({ handler }) {
    server = makeServer(handler);
    await server.start();
    return { port: server.address().port };
  },
  /** Closes the server and forgets it. */
  async close() {
    await server.close({ timeoutMs: 0 });
    server = null;
    return {};
  },
  /** Servers that never run. */
  async make({ count }) {
    for (let i = 0; i < count; i++) makeServer('drop');
    return {};
  },
  async drop() {
    kept.length = 0;
    return {};
  },
  async count() {
    return { handled, connections: server?.metrics().connections ?? 0 };
  },
  async countHandles() {
    return { count: asyncHandles() };
  },
  async measure() {
    await collect();
    const { rss, heapUsed, external } = process.memoryUsage();
    return { rss, heapUsed, external, collected: { ...collected } };
  },
};

watchNatives();
process.on('message', async (message) => process.send(await commands[message.command](message)));
