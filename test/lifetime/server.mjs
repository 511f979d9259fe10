// A server that ends in the way its parent asks for, with traffic in flight. Runs as a process or
// as a worker, on the built package. It prints (or posts) its port.
import { parentPort, workerData } from 'node:worker_threads';
import { SocketServer } from 'odradek';

const { transport, ending, threads } = workerData ?? JSON.parse(process.argv[2]);
let handled = 0;
const endAfter = 200;

const endings = {
  // Nothing but close(): the process has nothing left to do.
  close: () => void server.close({ timeoutMs: 1000 }),
  // close() is forgotten, and nothing keeps the process.
  unref: () => server.unref(),
  exit: () => process.exit(7),
  throwInTimer: () =>
    setImmediate(() => {
      throw new Error('thrown in a timer');
    }),
  // The program ends here, inside a callback that native code made.
  throwInListener: () => {},
  // The parent ends it.
  signal: () => {},
  terminate: () => {},
};

const server = new SocketServer({
  listeners: [{ port: 0 }],
  transport,
  networkThreads: threads,
  handler: (request) => {
    handled++;
    if (handled === endAfter) endings[ending]();
    // Some answers are late, so that the end finds requests of every kind.
    return handled % 3 === 0
      ? new Promise((resolve) => setImmediate(resolve, request.body))
      : request.body;
  },
});
if (ending === 'throwInListener') {
  server.on('connectionOpened', () => {
    throw new Error('thrown in a listener');
  });
}
await server.start();
const { port } = server.address();
if (parentPort === null) console.log(port);
else parentPort.postMessage(port);
