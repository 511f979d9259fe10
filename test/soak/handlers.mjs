// The handlers of the soak. Besides answering they look at what the server promises them: each
// request begins once, its body is whole, and (where `isExclusive`) no other of its connection is at
// work at that time.
import { threadId } from 'node:worker_threads';
import { replyAndClose } from 'odradek';
import { isFilledWith, readRequest, replyHead } from './wire.mjs';

let begun;
let running;
let isExclusive;

export function setup({ data }) {
  begun = data.begun;
  running = data.running;
  isExclusive = data.isExclusive;
}

/** Takes a moment, as programs do that close what they have open. */
export async function teardown() {
  await new Promise((resolve) => setImmediate(resolve));
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function spin(ms) {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

const made = ({ id, replyBytes }) => [replyHead(id, ''), Buffer.alloc(replyBytes, id & 0xff)];

const commands = {
  echo: ({ id, filling }) => [replyHead(id, ''), filling],
  make: made,
  soon: async (request) => made(request),
  wait: async (request) => {
    await sleep(request.argument);
    return made(request);
  },
  spin: (request) => {
    spin(request.argument);
    return made(request);
  },
  throw: () => {
    throw new Error('thrown by the handler');
  },
  last: (request) => replyAndClose(made(request)),
  exit: () => process.exit(7),
  // It is answered; what else the thread has then is not.
  exitLater: (request) => {
    setTimeout(() => process.exit(7), request.argument);
    return made(request);
  },
  crash: async (request) => {
    setTimeout(() => {
      throw new TypeError('thrown outside of any handler');
    }, request.argument);
    await sleep(1000);
    return made(request);
  },
  reject: (request) => {
    Promise.reject(new TypeError('rejected, and nobody saw'));
    return made(request);
  },
  eat: () => {
    const eaten = [];
    for (;;) eaten.push(new Array(10_000).fill(eaten.length));
  },
  // Beyond any time-out; one that never answered would keep its place in the thread for ever.
  hang: async (request) => {
    await sleep(2500);
    return made(request);
  },
  stick: () => {
    for (;;);
  },
};

/** A request of a connection at work: its number, so that 0 is none, and its thread. */
function work({ sequence }) {
  return (sequence + 1) * 1000 + (threadId % 1000);
}

/** What is wrong with the beginning of this request, or the empty text. */
function begin(request) {
  const { id, connection, filling } = request;
  const wasBegun = Atomics.add(begun, id, 1) > 0;
  const before = isExclusive ? Atomics.exchange(running, connection, work(request)) : 0;
  if (wasBegun) return 'begun a second time';
  if (before !== 0) {
    const other = `number ${Math.floor(before / 1000) - 1} is at work in thread ${before % 1000}`;
    return `begun in thread ${threadId} while ${other}`;
  }
  return isFilledWith(filling, id) ? '' : 'its body differs';
}

function end(request) {
  Atomics.compareExchange(running, request.connection, work(request), 0);
}

export default function handle({ body }) {
  const request = readRequest(body);
  const wrong = begin(request);
  if (wrong !== '') {
    end(request);
    return replyHead(request.id, wrong);
  }
  let isAwaited = false;
  try {
    const answer = commands[request.command](request);
    isAwaited = answer instanceof Promise;
    return isAwaited ? answer.finally(() => end(request)) : answer;
  } finally {
    if (!isAwaited) end(request);
  }
}
