// A handlers' module that does what a request says: its first word is the command. `data.shared` is
// memory that the test sees, `data.echo` a value to give back.
import { closeConnection, delimited, lengthPrefixed, noReply, replyAndClose } from 'odradek';

/** Places in the shared memory; the numbered ones behind them are gates, opened by the test. */
const places = { setups: 0, teardowns: 1, begun: 2, aborted: 3, sent: 4, refusals: 5, hangs: 6 };

let kept = Buffer.alloc(0);
let context = { thread: -1, data: {} };
let shared = new Int32Array(8);

const count = (place) => Atomics.add(shared, places[place], 1);
const text = (value) => Buffer.from(String(value));

export function setup(given) {
  context = given;
  shared = given.data.shared;
  count('setups');
  if (Atomics.load(shared, places.refusals) > 0) {
    Atomics.sub(shared, places.refusals, 1);
    throw new Error('not now');
  }
  if (Atomics.load(shared, places.hangs) > 0) {
    Atomics.sub(shared, places.hangs, 1);
    return new Promise(() => undefined);
  }
  if (given.data.exitOn === given.thread && Atomics.load(shared, places.setups) <= 2) {
    setTimeout(() => process.exit(4));
  }
  if (given.data.waitOn === given.thread) return opened(given.data.gate);
  if (given.data.failOn === given.thread) throw new Error(`not thread ${given.thread}`);
}

export async function teardown() {
  await new Promise((resolve) => setImmediate(resolve));
  if (context.data.teardown === 'throw') throw new Error('no end');
  if (context.data.teardown === 'hang') await new Promise(() => setInterval(() => undefined, 1000));
  count('teardowns');
}

/** Waits for the test without blocking the thread. */
function opened(gate) {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (Atomics.load(shared, gate) === 0) return;
      clearInterval(timer);
      resolve();
    }, 1);
  });
}

const commands = {
  echo: ({ body }) => body,
  keep: ({ body }) => {
    kept = body;
    return body;
  },
  kept: () => text(kept.byteLength),
  thread: () => text(context.thread),
  data: () => text(JSON.stringify(context.data.echo)),
  none: () => noReply,
  parts: () => [text('a'), text('b'), Buffer.alloc(0), text('c')],
  big: (_request, length) => Buffer.alloc(Number(length), 'x'),
  gone: () => {
    const bytes = new Uint8Array(8);
    structuredClone(bytes, { transfer: [bytes.buffer] });
    return [bytes, text('gone')];
  },
  close: () => closeConnection,
  last: ({ body }) => replyAndClose(body),
  nonsense: () => 'nonsense',
  nonsenseLater: async (_request, gate) => {
    await opened(Number(gate));
    return 'nonsense';
  },
  soon: async ({ body }) => body,
  count: ({ connection }) => {
    connection.state = (connection.state ?? 0) + 1;
    return text(`${context.thread}:${connection.state}`);
  },
  facts: ({ connection: { id, listener, remoteAddress, remotePort } }) =>
    text(JSON.stringify({ id, listener, remoteAddress, remotePort })),
  age: ({ receivedAt }) => text(performance.now() - receivedAt),
  throw: () => {
    throw Object.assign(new RangeError('not in range', { cause: new Error('why') }), {
      code: 'E_RANGE',
      detail: { at: 3 },
      call: () => undefined,
    });
  },
  throwValue: () => {
    throw { a: 1 };
  },
  throwFunction: () => {
    throw function nothing() {};
  },
  reject: () => Promise.reject(new Error('rejected')),
  rejectLater: async (_request, gate) => {
    await opened(Number(gate));
    throw new Error('rejected later');
  },
  thrice: () => ({
    // biome-ignore lint/suspicious/noThenProperty: a thenable that settles three times
    then: (resolve, reject) => {
      resolve(text('first'));
      resolve(text('second'));
      reject(new Error('third'));
    },
  }),
  park: async ({ body }, gate) => {
    await opened(Number(gate));
    return body;
  },
  block: ({ body }, gate) => {
    Atomics.wait(shared, Number(gate), 0);
    return body;
  },
  /** Waits without blocking the thread, and then blocks it. */
  parkAndBlock: async ({ body }, gates) => {
    const [first, second] = gates.split(',').map(Number);
    await opened(first);
    count('aborted');
    Atomics.wait(shared, second, 0);
    return body;
  },
  /** Begins, and blocks the thread outside of any handler, which then exits. */
  blockLater: (_request, gate) => {
    setImmediate(() => {
      count('aborted');
      Atomics.wait(shared, Number(gate), 0);
      process.exit(7);
    });
    return new Promise(() => undefined);
  },
  crash: () => {
    setImmediate(() => {
      throw new TypeError('crashed');
    });
    return new Promise(() => undefined);
  },
  rejectUnseen: () => {
    Promise.reject(new TypeError('nobody saw'));
    return new Promise(() => undefined);
  },
  exit: (_request, code) => process.exit(Number(code)),
  eat: () => {
    const eaten = [];
    for (;;) eaten.push(new Array(10_000).fill(eaten.length));
  },
  spin: () => {
    for (;;);
  },
  signal: async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    count('aborted');
    if (signal.reason instanceof Error) count('sent');
    return noReply;
  },
  closeAndLook: (request) => {
    const { signal } = request;
    request.connection.close();
    if (signal.aborted) count('aborted');
    if (request.signal.reason.message.endsWith('CLOSED_BY_SERVICE')) count('aborted');
    return noReply;
  },
  sent: (request) => {
    request.sent.then(({ ok }) => {
      if (ok) count('sent');
    });
    return request.body;
  },
  unsent: (request, expected) => {
    request.sent.then(({ ok, reason }) => {
      if (!ok && reason === expected) count('sent');
    });
    return request.body;
  },
  sentLate: async (request) => {
    setImmediate(() => {
      request.sent.then(({ reason }) => {
        if (reason === 'ASKED_TOO_LATE') count('sent');
      });
    });
    return request.body;
  },
  hangUp: ({ body, connection }) => {
    connection.close('by the worker');
    return body;
  },
  lines: ({ connection }) => {
    connection.setFraming(delimited('\n'));
    return text('lines');
  },
  linesLater: async ({ connection }, gate) => {
    await opened(Number(gate));
    connection.setFraming(delimited('\n'));
    return text('lines');
  },
  linesNever: ({ connection, body }) => {
    setImmediate(() => {
      try {
        connection.setFraming(lengthPrefixed());
      } catch (error) {
        if (error.code === 'ERR_ODRADEK_SET_FRAMING') count('sent');
      }
    });
    return body;
  },
};

export default function handle(request) {
  count('begun');
  const [command, argument] = request.body.toString().split(' ');
  return commands[command](request, argument);
}
