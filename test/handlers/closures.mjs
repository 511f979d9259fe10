// Runs the handlers of a test, which are closures and can't leave its thread: each request is told to
// the test's thread, and this one blocks until the closure has returned there. What the closure does
// to its request meanwhile, and later, is done here to the real one. See test/support/closures.ts.
import { parentPort, receiveMessageOnPort } from 'node:worker_threads';
import { closeConnection, noReply, replyAndClose } from 'odradek';

let port;
/** Counts what was said: in place 0 to this thread, in place 1 to the test's. */
let words;
const calls = new Map();
const connections = new Map();

export async function setup({ data }) {
  const met = new Promise((resolve) => parentPort.once('message', resolve));
  parentPort.postMessage({ closures: data.closures });
  ({ port, words } = await met);
  port.on('message', hear);
}

function say(message) {
  port.postMessage(message);
  Atomics.add(words, 1, 1);
  Atomics.notify(words, 1);
}

function hear(message) {
  const call = calls.get(message.call);
  if (message.kind === 'returned') call.returned = message.outcome;
  else if (message.kind === 'settled') call.settled(message.outcome);
  else say({ kind: 'done', ...deeds[message.what](message, call) });
}

/** What a closure may do to its request. */
const deeds = {
  signal: ({ call }, { request: { signal } }) => {
    const reason = () => ({ code: signal.reason.code, message: signal.reason.message });
    if (signal.aborted) return { reason: reason() };
    signal.addEventListener('abort', () => say({ kind: 'abort', call, reason: reason() }));
    return {};
  },
  sent: ({ call }, { request }) => {
    request.sent.then((outcome) => say({ kind: 'sent', call, outcome }));
    return {};
  },
  throttle: ({ ms }, { request }) => {
    try {
      request.throttle(ms);
      return {};
    } catch ({ code, message }) {
      return { error: { code, message } };
    }
  },
  send: ({ connection, bytes }) => {
    try {
      return { takesMore: connections.get(connection).send(bytes) };
    } catch ({ code, message }) {
      return { error: { code, message } };
    }
  },
  drained: ({ connection, wait }) => {
    connections
      .get(connection)
      .drained()
      .then(() => say({ kind: 'drained', wait }));
    return {};
  },
  close: ({ connection, detail }) => {
    connections.get(connection).close(detail);
    return {};
  },
  setFraming: ({ connection, framing, isFrozen }) => {
    try {
      // A clone has lost what says that it was made by one of odradek's functions.
      connections.get(connection).setFraming(isFrozen ? Object.freeze(framing) : framing);
      return {};
    } catch ({ code, message }) {
      return { error: { code, message } };
    }
  },
};

/** Listens to nothing but the test until the closure has returned. */
function waitFor(call) {
  for (;;) {
    const heard = Atomics.load(words, 0);
    let next = receiveMessageOnPort(port);
    while (next !== undefined) {
      hear(next.message);
      // What was said after that is for when the handler has returned here, too.
      if (call.returned !== null) return call.returned;
      next = receiveMessageOnPort(port);
    }
    Atomics.wait(words, 0, heard);
  }
}

function replyOf({ reply, bytes, value, error }) {
  if (reply === 'noReply') return noReply;
  if (reply === 'closeConnection') return closeConnection;
  if (reply === 'replyAndClose') return replyAndClose(bytes);
  if (error !== undefined) throw Object.assign(new Error('of a closure'), { closureError: error });
  return value;
}

function promiseOf(call, early) {
  return {
    // biome-ignore lint/suspicious/noThenProperty: it settles when, and as often as, the test's does
    then: (fulfilled, rejected) => {
      call.settled = (outcome) => {
        let value;
        try {
          value = replyOf(outcome);
        } catch (error) {
          rejected(error);
          return;
        }
        fulfilled(value);
      };
      early.splice(0).forEach(call.settled);
    },
  };
}

export default function handle(request) {
  return ask(request, false);
}

/** Exported as `onOverload` by refusing-closures.mjs. */
export function refuse(request) {
  return ask(request, true);
}

function ask(request, isRefused) {
  const { body, connection, receivedAt } = request;
  const { id, listener, remoteAddress, remotePort } = connection;
  const early = [];
  const call = { request, returned: null, settled: (outcome) => early.push(outcome) };
  const number = calls.size + 1;
  calls.set(number, call);
  connections.set(id, connection);
  const facts = { id, listener, remoteAddress, remotePort };
  say({ kind: 'call', call: number, body, receivedAt, facts, isRefused });
  const outcome = waitFor(call);
  return outcome.isAwaited ? promiseOf(call, early) : replyOf(outcome);
}
