import { noReply, type Request, raw } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, numbered, pattern } from './support/bytes.js';
import type { Client } from './support/client.js';
import { expectMetrics, startServer, type TestServer } from './support/server.js';
import { transports } from './support/transports.js';
import { type Deferred, defer, nextTurn, until, within } from './support/wait.js';

describe.each(transports)('bounds (%s)', (transport) => {
  describe('a client that does not read', () => {
    it('gets every byte when it reads at last, and holds up nobody', async () => {
      const testServer = await startServer(transport);
      const slow = await testServer.connect({ paused: true });
      const payloads = Array.from({ length: 40 }, (_, i) => pattern(500_000, i));
      slow.send(frames(payloads));
      const other = await testServer.connect();
      for (let i = 0; i < 100; i++) {
        other.send(frame(`quick ${i}`));
        expect(await other.readText()).toBe(`quick ${i}`);
      }
      slow.startReading();
      for (const payload of payloads) expectBytes(await slow.readFrame(), payload);
    });

    it('gets every byte of many small replies too, which share memory with those of others', async () => {
      const reply = (number: number): Buffer => pattern(1000, number);
      const testServer = await startServer(transport, {
        networkThreads: 1,
        handler: ({ body }) => reply(body.readUInt32BE()),
      });
      const { server } = testServer;
      const slow = await testServer.connect({ paused: true });
      slow.send(frames(numbered(20_000)));
      await until(() => server.metrics().requestsTotal > 0, 'the first request');
      await settles(() => server.metrics().requestsTotal);
      expect(server.metrics().responsesTotal).toBeLessThan(20_000);
      const other = await testServer.connect();
      for (const payload of numbered(300)) {
        other.send(frame(payload));
        expectBytes(await other.readFrame(), reply(payload.readUInt32BE()));
      }
      slow.startReading();
      for (let i = 0; i < 20_000; i++) expectBytes(await slow.readFrame(), reply(i));
    });

    it('gets a reply that had to wait while others used up and renewed the memory', async () => {
      const late = defer<Buffer>();
      const testServer = await startServer(transport, {
        networkThreads: 1,
        handler: ({ body }) => {
          if (body.toString() === 'large') return pattern(8_000_000);
          return body.toString() === 'late' ? late.promise : pattern(1000, body.readUInt32BE());
        },
      });
      const { server } = testServer;
      const slow = await testServer.connect({ paused: true });
      slow.send(frames(['large', 'late']));
      await until(() => server.metrics().pendingRequests === 1, 'the second request');
      const other = await testServer.connect();
      const others = async (): Promise<void> => {
        for (const payload of numbered(200)) {
          other.send(frame(payload));
          expectBytes(await other.readFrame(), pattern(1000, payload.readUInt32BE()));
        }
      };
      await others();
      late.resolve(pattern(5000, 77));
      await others();
      slow.startReading();
      expectBytes(await slow.readFrame(), pattern(8_000_000));
      expectBytes(await slow.readFrame(), pattern(5000, 77));
    });

    it('gets replies that were given while an earlier one was under way', async () => {
      const outcomes: unknown[] = [];
      const testServer = await startServer(transport, {
        handler: async ({ body, sent }) => {
          void sent.then((outcome) => outcomes.push(outcome));
          await nextTurn();
          return pattern(body.length === 1 ? 6_000_000 : 600, body.length);
        },
      });
      const { server } = testServer;
      const slow = await testServer.connect({ paused: true });
      slow.send(frames(['1', '22', '333', '4']));
      // Nothing more is asked of a handler, though the first reply has not left.
      await until(() => server.metrics().pendingRequests === 0, 'every answer');
      await settles(() => server.metrics().bytesWrittenTotal);
      expect(server.metrics().responsesTotal).toBe(0);
      expect(outcomes).toEqual([]);
      slow.startReading();
      for (const [length, seed] of [
        [6_000_000, 1],
        [600, 2],
        [600, 3],
        [6_000_000, 1],
      ] as const) {
        expectBytes(await slow.readFrame(), pattern(length, seed));
      }
      await until(() => outcomes.length === 4, 'every outcome');
      expect(outcomes).toEqual([{ ok: true }, { ok: true }, { ok: true }, { ok: true }]);
      await expectMetrics(server, { responsesTotal: 4 });
    });

    it('is not read from: what it is owed stays bounded', async () => {
      const reply = pattern(1_000_000);
      const testServer = await startServer(transport, { handler: () => reply });
      const slow = await testServer.connect({ paused: true });
      const { server } = testServer;
      slow.send(frames(numbered(2000)));
      await until(() => server.metrics().requestsTotal > 0, 'the first request');
      await settles(() => server.metrics().requestsTotal);
      // One batch at most: the replies to it must leave before the next is made of its bytes.
      expect(server.metrics().requestsTotal).toBeLessThanOrEqual(64);
      slow.startReading();
      for (let i = 0; i < 100; i++) expectBytes(await slow.readFrame(), reply);
    });
  });

  it('reads no more of a connection whose request is not answered', async () => {
    const parked = defer<Buffer>();
    const bodies: Buffer[] = [];
    const testServer = await startServer(transport, {
      handler: ({ body }) => {
        bodies.push(body);
        return bodies.length === 1 ? parked.promise : body.subarray(0, 4);
      },
    });
    const client = await testServer.connect();
    const { server } = testServer;
    client.send(frame('park'));
    await until(() => bodies.length === 1, 'the first request');
    const payloads = Array.from({ length: 1024 }, (_, i) => pattern(32_768, i));
    client.send(frames(payloads));
    await settles(() => server.metrics().bytesReadTotal);
    // 32 MiB were sent. What was read is a few reads at most, the rest waits in the kernel.
    expect(server.metrics().bytesReadTotal).toBeLessThan(1_048_576);
    expect(bodies).toHaveLength(1);
    parked.resolve(Buffer.from('go on'));
    expect(await client.readText()).toBe('go on');
    for (const payload of payloads) expectBytes(await client.readFrame(), payload.subarray(0, 4));
    expect(bodies).toHaveLength(1025);
  });

  it('lets timers and other connections have their turns under a flood', async () => {
    const testServer = await startServer(transport, { framing: raw(), handler: () => noReply });
    const flood = await testServer.connect();
    const stops = Array.from({ length: 4 }, () => flood.pour(Buffer.alloc(1_048_576)));
    const other = await testServer.connect();
    const { server } = testServer;
    for (let i = 0; i < 20; i++) {
      const before = server.metrics().requestsTotal;
      other.send(Buffer.of(i));
      await new Promise((resolve) => setTimeout(resolve, 1));
      await until(() => server.metrics().requestsTotal > before, 'progress');
    }
    for (const stop of stops) stop();
    other.end();
    expect(await other.readToEnd()).toHaveLength(0);
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED' });
  });

  it('hands a long line of pipelined requests over in turns', async () => {
    let timers = 0;
    const testServer = await startServer(transport);
    const client = await testServer.connect();
    const sent = frames(numbered(50_000));
    const ticking = setInterval(() => timers++, 0);
    client.send(sent);
    expectBytes(await client.read(sent.length), sent);
    clearInterval(ticking);
    expect(timers).toBeGreaterThan(1);
  });

  describe('long polls', () => {
    /** A poll waits for the next `produce` and answers with what was produced. */
    function topic() {
      const polls: Deferred<Buffer>[] = [];
      const handler = ({ body }: Request): Buffer | Promise<Buffer> => {
        const text = body.toString();
        if (text === 'poll') {
          const poll = defer<Buffer>();
          polls.push(poll);
          return poll.promise;
        }
        if (text.startsWith('produce')) {
          for (const poll of polls.splice(0)) poll.resolve(body);
        }
        return body;
      };
      return { polls, handler };
    }

    it('that fill queuedMaxRequests do not keep out the request that completes them', async () => {
      const { polls, handler } = topic();
      const testServer = await startServer(transport, { queuedMaxRequests: 4, handler });
      const pollers = await connectMany(testServer, 40);
      for (const poller of pollers) poller.send(frame('poll'));
      await until(() => polls.length === 40, 'every poll');
      await expectMetrics(testServer.server, {
        requestQueueSize: 0,
        pendingRequests: 40,
        requestsInFlight: 40,
      });
      const producer = await testServer.connect();
      producer.send(frame('produce 1'));
      expect(await producer.readText()).toBe('produce 1');
      for (const poller of pollers) expect(await poller.readText()).toBe('produce 1');
    });

    it('nor do they with other requests pipelined behind them', async () => {
      const { polls, handler } = topic();
      const testServer = await startServer(transport, { queuedMaxRequests: 4, handler });
      const pollers = await connectMany(testServer, 40);
      for (const poller of pollers) poller.send(frames(['poll', 'behind', 'behind too']));
      await until(() => polls.length === 40, 'every poll');
      const producer = await testServer.connect();
      producer.send(frames(['produce 1', 'and more']));
      expect(await producer.readTexts(2)).toEqual(['produce 1', 'and more']);
      for (const poller of pollers) {
        expect(await poller.readTexts(3)).toEqual(['produce 1', 'behind', 'behind too']);
      }
    });

    it('come and go while the queue holds one request', async () => {
      const { polls, handler } = topic();
      const testServer = await startServer(transport, { queuedMaxRequests: 1, handler });
      const pollers = await connectMany(testServer, 10);
      const producer = await testServer.connect();
      for (let round = 0; round < 20; round++) {
        for (const poller of pollers) poller.send(frame('poll'));
        await until(() => polls.length === 10, 'every poll');
        producer.send(frame(`produce ${round}`));
        expect(await producer.readText()).toBe(`produce ${round}`);
        for (const poller of pollers) expect(await poller.readText()).toBe(`produce ${round}`);
      }
    });
  });

  describe('maxPendingRequests', () => {
    /** A server whose requests wait until the test lets them go, in any order. */
    async function parking(options: { queuedMaxRequests: number; maxPendingRequests: number }) {
      const taken: string[] = [];
      const parked = new Map<string, Deferred<Buffer>>();
      const testServer = await startServer(transport, {
        ...options,
        networkThreads: 1,
        handler: ({ body }) => {
          const text = body.toString();
          const reply = defer<Buffer>();
          taken.push(text);
          parked.set(text, reply);
          return reply.promise;
        },
      });
      const answer = (text: string): void => parked.get(text)?.resolve(Buffer.from(text));
      const metrics = () => {
        const { requestQueueSize, pendingRequests, connectionsWaitingForRoom } =
          testServer.server.metrics();
        return [pendingRequests, requestQueueSize, connectionsWaitingForRoom];
      };
      return { testServer, taken, answer, metrics };
    }

    it('bounds what is taken; the queue fills, and then connections wait in line', async () => {
      const limits = { queuedMaxRequests: 2, maxPendingRequests: 3 };
      const { testServer, taken, answer, metrics } = await parking(limits);
      const clients = await connectMany(testServer, 9);
      for (const [i, client] of clients.entries()) {
        client.send(frame(`${i}`));
        const expected = [Math.min(i + 1, 3), Math.max(0, Math.min(i - 2, 2)), Math.max(0, i - 4)];
        await until(() => `${metrics()}` === `${expected}`, `${expected}`);
      }
      expect(taken).toEqual(['0', '1', '2']);
      // Room is made one by one, and goes to the one that has waited longest.
      for (const [i, client] of clients.entries()) {
        answer(`${i}`);
        expect(await client.readText()).toBe(`${i}`);
        const left = 8 - i;
        const expected = [
          Math.min(left, 3),
          Math.max(0, Math.min(left - 3, 2)),
          Math.max(0, left - 5),
        ];
        await until(() => `${metrics()}` === `${expected}`, `${expected}`);
      }
      expect(taken).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8']);
    });

    it('gives room to the one that has waited longest, not to one that comes just now', async () => {
      const limits = { queuedMaxRequests: 1, maxPendingRequests: 1 };
      const { testServer, taken, answer, metrics } = await parking(limits);
      const clients = await connectMany(testServer, 4);
      const sent = [frames(['0', 'next']), frame('1'), frame('2'), frame('3')];
      for (const [i, client] of clients.entries()) {
        client.send(sent[i] as Buffer);
        await until(() => metrics()[1] === Math.min(i, 1), `a queue of ${Math.min(i, 1)}`);
        await until(() => metrics()[2] === Math.max(0, i - 1), `${i - 1} that wait`);
      }
      // The first one's next request was there all the time, but could not be looked at.
      for (const text of ['0', '1', '2', '3', 'next']) {
        await until(() => taken.at(-1) === text, text);
        answer(text);
      }
      expect(taken).toEqual(['0', '1', '2', '3', 'next']);
      expect(await clients[0]?.readTexts(2)).toEqual(['0', 'next']);
    });

    it('serves those that waited and half-closed meanwhile', async () => {
      const limits = { queuedMaxRequests: 1, maxPendingRequests: 1 };
      const { testServer, taken, answer, metrics } = await parking(limits);
      const clients = await connectMany(testServer, 4);
      for (const [i, client] of clients.entries()) {
        client.send(frame(`${i}`));
        const expected = [1, Math.min(i, 1), Math.max(0, i - 1)];
        await until(() => `${metrics()}` === `${expected}`, `${expected}`);
      }
      const [first, second, third, fourth] = clients as [Client, Client, Client, Client];
      second.end();
      third.end();
      answer('0');
      expect(await first.readText()).toBe('0');
      for (const [i, client] of [second, third, fourth].entries()) {
        await until(() => taken.includes(`${i + 1}`), `request ${i + 1}`);
        answer(`${i + 1}`);
        expect(await client.readText()).toBe(`${i + 1}`);
      }
      await until(() => `${metrics()}` === '0,0,0', 'an empty server');
      expect(taken).toEqual(['0', '1', '2', '3']);
    });

    it('of one still serves many pipelining connections', async () => {
      const testServer = await startServer(transport, {
        queuedMaxRequests: 1,
        maxPendingRequests: 1,
        handler: async ({ body }) => {
          await nextTurn();
          return body;
        },
      });
      const clients = await connectMany(testServer, 10);
      const sent = frames(numbered(50));
      for (const client of clients) client.send(sent);
      for (const client of clients) expectBytes(await client.read(sent.length), sent);
    });

    it('is not used up by requests that wait behind another one of their connection', async () => {
      const limits = { queuedMaxRequests: 100, maxPendingRequests: 2 };
      const { testServer, taken, answer, metrics } = await parking(limits);
      const client = await testServer.connect();
      client.send(frames(['0', '1', '2', '3', '4']));
      await until(() => `${metrics()}` === '1,0,0', '1,0,0');
      // The one that completes a long-poll must get through.
      const other = await testServer.connect();
      other.send(frames(['wake']));
      await until(() => taken.includes('wake'), 'the other one');
      answer('wake');
      expect(await other.readText()).toBe('wake');
      for (let i = 0; i < 5; i++) {
        await until(() => taken.includes(`${i}`), `request ${i}`);
        answer(`${i}`);
        expect(await client.readText()).toBe(`${i}`);
      }
      await until(() => `${metrics()}` === '0,0,0', 'an empty server');
    });

    it('lets the queue take no more of one connection than it has room for', async () => {
      const limits = { queuedMaxRequests: 2, maxPendingRequests: 1 };
      const { testServer, taken, answer, metrics } = await parking(limits);
      const [first, second] = (await connectMany(testServer, 2)) as [Client, Client];
      first.send(frame('0'));
      await until(() => taken.length === 1, 'the first request');
      second.send(frames(['1', '2', '3', '4', '5']));
      await until(() => metrics()[1] === 2, 'a full queue');
      await settles(() => testServer.server.metrics().requestsTotal);
      expect(metrics().slice(0, 2)).toEqual([1, 2]);
      answer('0');
      expect(await first.readText()).toBe('0');
      for (let i = 1; i <= 5; i++) {
        await until(() => taken.includes(`${i}`), `request ${i}`);
        answer(`${i}`);
        expect(await second.readText()).toBe(`${i}`);
      }
    });

    it('starts nothing of connections that were closed while they waited', async () => {
      const limits = { queuedMaxRequests: 1, maxPendingRequests: 1 };
      const { testServer, taken, answer, metrics } = await parking(limits);
      const clients = await connectMany(testServer, 4);
      for (const [i, client] of clients.entries()) {
        client.send(frame(`${i}`));
        const expected = [1, Math.min(i, 1), Math.max(0, i - 1)];
        await until(() => `${metrics()}` === `${expected}`, `${expected}`);
      }
      const [, queued, waiting] = testServer.opened.all;
      waiting?.close();
      await until(() => `${metrics()}` === '1,1,1', 'the end of one that waits');
      queued?.close();
      answer('0');
      await until(() => taken.length === 2, 'the next');
      answer('3');
      expect(await clients[3]?.readText()).toBe('3');
      expect(taken).toEqual(['0', '3']);
    });

    it('does not keep a server with waiting connections from closing', async () => {
      const limits = { queuedMaxRequests: 2, maxPendingRequests: 1 };
      const { testServer, metrics } = await parking(limits);
      const clients = await connectMany(testServer, 6);
      for (const [i, client] of clients.entries()) {
        client.send(frame(`${i}`));
        const expected = [1, Math.min(i, 2), Math.max(0, i - 2)];
        await until(() => `${metrics()}` === `${expected}`, `${expected}`);
      }
      const summary = await testServer.server.close({ timeoutMs: 50 });
      // One was taken and two were queued; what the waiting ones sent was not received yet.
      expect(summary).toEqual({ completed: 0, cut: 3 });
      await until(() => `${metrics()}` === '0,0,0', 'an empty server');
    });
  });

  it('echoes many large frames of many connections at once', async () => {
    const testServer = await startServer(transport);
    const clients = await connectMany(testServer, 8);
    const work = clients.map(async (client, i) => {
      for (let round = 0; round < 5; round++) {
        const payload = pattern(1_000_000 + i, round);
        client.send(frame(payload));
        expectBytes(await client.readFrame(), payload);
      }
    });
    await within(Promise.all(work), 'every echo');
  });

  it('serves hundreds of connections at once', async () => {
    const testServer = await startServer(transport, {
      handler: async ({ body }) => {
        await nextTurn();
        return body;
      },
    });
    const clients = await connectMany(testServer, 300);
    const sent = frames(numbered(20));
    for (const client of clients) client.send(sent);
    for (const client of clients) expectBytes(await client.read(sent.length), sent);
    expect(testServer.server.metrics().connections).toBe(300);
    for (const client of clients) client.end();
    await until(() => testServer.server.metrics().connections === 0, 'every end');
  });
});

async function connectMany(testServer: TestServer, count: number): Promise<Client[]> {
  const clients: Client[] = [];
  for (let i = 0; i < count; i++) clients.push(await testServer.connect());
  return clients;
}

/** Waits until a number has not changed for a while: what was under way has arrived. */
async function settles(read: () => number): Promise<void> {
  let last = read();
  let since = performance.now();
  await until(() => {
    const now = read();
    if (now !== last) since = performance.now();
    last = now;
    return performance.now() - since > 100;
  }, 'rest');
}
