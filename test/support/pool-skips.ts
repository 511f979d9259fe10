import { beforeEach } from 'vitest';

/**
 * Tests of the behavioural suite that make no sense where handlers run on threads of their own, by
 * the end of their full name, and why.
 */
const skips: [reason: string, titles: readonly RegExp[]][] = [
  [
    'custom() framing is a function of the server’s thread, and refused with a handler pool',
    [
      / custom > /,
      /\(custom\) > /,
      /is reported: a custom frame$/,
      /bytes that would break a custom framing do no harm$/,
      /from any framing to any other/,
      /again and again, while more comes at any moment/,
      /> to custom: /,
      /keeps the order and the limit, run [34]/,
    ],
  ],
  [
    'setFraming() is judged on the server’s thread, where other requests have been started',
    [
      /applies to what was not started: all that is behind, in the synchronous part$/,
      /is refused after an await with another one in flight/,
      /puts a large frame behind it together by the new framing$/,
    ],
  ],
  [
    'a thread has a view of its own of a connection, without what onConnect kept in it',
    [
      /connection\.state > belongs to one connection/,
      /request \(\w+ pool\) > says where it came from$/,
    ],
  ],
  [
    'the test’s closures throw here, where the server sees a copy of the error',
    [/are published to diagnostics_channel, with the server$/, /warn once where a handler fails/],
  ],
  [
    'the test needs a reply at once, and one of a thread takes turns to come',
    [
      /sends the replies of requests that came together in one write$/,
      /starts nothing more while it waits$/,
      /keeps the order and the limit, run 5/,
      /that fill the queue hold up neither replies nor waiters of another$/,
      /sent > comes before the connection closes behind its reply$/,
      /handlerTimeoutMs \(\w+ pool\) > leaves alone what is answered in time$/,
    ],
  ],
  [
    'a body is a copy in the memory of its thread, and there is nothing to share or to keep',
    [/while a million more requests pass$/, /from under the others by a transfer of its memory$/],
  ],
  [
    'a message can’t carry bytes whose memory was transferred away; handler-pool.test.ts has it',
    [/bytes whose memory was transferred away for none/],
  ],
  [
    'requests of different connections begin on different threads, in no order',
    [/bounds what is taken; the queue fills, and then connections wait in line$/],
  ],
  [
    'a handler on another thread has no server to close',
    [
      /by server\.close\(\) in a handler /,
      /server\.close\(\) \(\w+ pool\) > awaited inside a handler/,
    ],
  ],
];

/** The same for the native transport's pool alone. */
const nativeSkips: typeof skips = [
  [
    'a request whose reply waits for an earlier one is with its thread, which keeps the order',
    [
      /starts as many as allowed, and the next one when the oldest has its reply$/,
      /counts what is started against maxPendingRequests, replies that wait too$/,
    ],
  ],
  [
    'what onHandlerError decides crosses as a message, and until then a thread may start what is ' +
      'behind; handler-pool-closes.test.ts waits for it',
    [/by (a failed handler|what is no reply) (closes in order|drops replies that wait behind it)$/],
  ],
];

beforeEach((context) => {
  const names = [context.task.name];
  for (let suite = context.task.suite; suite !== undefined; suite = suite.suite) {
    names.unshift(suite.name);
  }
  const name = names.join(' > ');
  if (!/\((js|native) pool\)/.test(name)) return;
  const all = name.includes('(native pool)') ? [...skips, ...nativeSkips] : skips;
  for (const [reason, titles] of all) {
    if (titles.some((title) => title.test(name))) context.skip(reason);
  }
});
