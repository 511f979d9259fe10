// A server that comes to the end which its plan names, with traffic in flight: as a worker of
// host.mjs, or as a process of its own. Tells its port, and moments that the plan asks for, by
// messages or lines of JSON. Runs on the built package.
//
// The plan: { transport, threads, handler, ending, endAfter, closeMs }; see lifetimes.mjs.
import { subscribe } from 'node:diagnostics_channel';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { SocketServer } from 'odradek';

/** Answers requests in the way that the plan names. */
function makeHandler({ handler }) {
  const kept = [];
  let handled = 0;
  const handlers = {
    // Some answers are late, so that the end finds requests of every kind.
    echo: ({ body }) =>
      handled % 3 === 0 ? new Promise((resolve) => setImmediate(resolve, body)) : body,
    // Some are never given.
    pending: ({ body }) => (handled % 50 === 0 ? new Promise(() => {}) : body),
    // Bodies outlive their requests: external ArrayBuffers, where they are large.
    keep: ({ body }) => {
      kept[handled % 200] = body;
      return body;
    },
    // Slower than any client.
    busy: ({ body }) => {
      const until = performance.now() + 0.02;
      while (performance.now() < until);
      return body;
    },
    sized: ({ body }) => {
      const size = body.readUInt32BE();
      return Buffer.alloc(size, size & 0xff);
    },
  };
  return (request) => {
    handled++;
    return handlers[handler](request);
  };
}

function fail(where) {
  throw new Error(`thrown in ${where}`);
}

/** What happens when `endAfter` requests were handled; without an entry here, the parent acts. */
const endings = {
  close: ({ server }) => void server.close({ timeoutMs: 1000 }),
  // close() is forgotten, and nothing keeps the process.
  unref: ({ server }) => void server.unref(),
  exitInHandler: () => process.exit(7),
  exitInTimer: () => setTimeout(() => process.exit(7), 1),
  throwInTimer: () => setTimeout(fail, 1, 'a timer'),
  // In the callback that native code made, past everything that contains a handler's errors.
  throwInCallback: () => failInCallback(),
  // The same, in a program that goes on.
  catchInCallback: ({ server }) => {
    process.once('uncaughtException', ({ message }) => {
      if (message !== 'thrown in the callback') process.exit(3);
      void server.close({ timeoutMs: 1000 });
    });
    failInCallback();
  },
  // The handler doesn't return before the end comes.
  stay: ({ tell }) => {
    tell({ moment: 'stay' });
    const deadline = performance.now() + 60_000;
    while (performance.now() < deadline);
  },
  // The end comes while close() is under way.
  closing: ({ server, tell, plan }) => {
    setInterval(() => {}, 60_000);
    void server.close({ timeoutMs: plan.closeMs });
    tell({ moment: 'closing' });
  },
};

/** Memory for the next slab is refused: that is thrown in the middle of a turn, by our own code. */
function failInCallback() {
  const { allocUnsafeSlow } = Buffer;
  Buffer.allocUnsafeSlow = () => {
    Buffer.allocUnsafeSlow = allocUnsafeSlow;
    fail('the callback');
  };
}

/** Serves as planned; `tell` reports to the parent. */
export async function serve(plan, tell) {
  const answer = makeHandler(plan);
  let left = plan.endAfter;
  const server = new SocketServer({
    listeners: [{ port: 0 }],
    transport: plan.transport,
    networkThreads: plan.threads,
    handler: (request) => {
      left--;
      if (left === 0) endings[plan.ending]?.({ server, tell, plan });
      return answer(request);
    },
  });
  if (plan.ending === 'throwInListener') {
    server.on('connectionOpened', () => fail('a listener'));
  }
  if (plan.ending === 'throwInSubscriber') {
    subscribe('odradek.connection.opened', () => fail('a subscriber'));
  }
  if (plan.ending === 'closeOnSignal') {
    process.once('SIGTERM', () => void server.close({ timeoutMs: 1000 }));
  }
  if (plan.ending === 'starting') {
    setInterval(() => {}, 60_000);
    tell({ moment: 'starting' });
  }
  await server.start();
  tell({ port: server.address().port });
  return server;
}

/** The main thread leaves while a worker serves. */
function leaveWorker(plan, tell) {
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { plan: { ...plan, ending: 'none' } },
  });
  worker.on('message', (message) => {
    tell(message);
    setTimeout(() => process.exit(7), plan.closeMs);
  });
}

if (workerData?.plan !== undefined) {
  await serve(workerData.plan, (message) => parentPort.postMessage(message));
} else if (process.argv[1] === import.meta.filename) {
  const plan = JSON.parse(process.argv[2]);
  const tell = (message) => console.log(JSON.stringify(message));
  if (plan.ending === 'exitWithWorker') leaveWorker(plan, tell);
  else await serve(plan, tell);
}
