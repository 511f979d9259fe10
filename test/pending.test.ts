import type { Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, numbered } from './support/bytes.js';
import type { Client } from './support/client.js';
import { connectMany, startParking } from './support/handlers.js';
import { expectMetrics, startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { type Deferred, defer, nextTurn, settles, until } from './support/wait.js';

describe.each(placements)('pending requests (%s)', (transport) => {
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
    it('bounds what is taken; the queue fills, and then connections wait in line', async () => {
      const limits = { queuedMaxRequests: 2, maxPendingRequests: 3 };
      const { testServer, taken, answer, metrics } = await startParking(transport, limits);
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
      const { testServer, taken, answer, metrics } = await startParking(transport, limits);
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

    it('of one processor that fill the queue hold up neither replies nor waiters of another', async () => {
      const { testServer, taken, answer, metrics } = await startParking(transport, {
        queuedMaxRequests: 2,
        maxPendingRequests: 3,
        networkThreads: 2,
      });
      const clients = await connectMany(testServer, 8);
      await until(() => testServer.opened.all.length === 8, 'every connection');
      // The js transport has one processor, the native one deals connections out in turn.
      const processors = testServer.opened.all.map(({ id }) => id.split('-').at(-2));
      expect(new Set(processors).size).toBe(transport === 'native' ? 2 : 1);
      const [a, x, b, y, c, , d] = clients as Client[];
      const steps: [Client | undefined, string, [number, number, number]][] = [
        [x, 'x', [1, 0, 0]],
        [a, 'a', [2, 0, 0]],
        [b, 'b', [3, 0, 0]],
        [c, 'c', [3, 1, 0]],
        [d, 'd', [3, 2, 0]],
        [y, 'y', [3, 2, 1]],
      ];
      for (const [client, text, expected] of steps) {
        client?.send(frame(text));
        await until(() => `${metrics()}` === `${expected}`, text);
      }
      answer('x');
      expect(await x?.readText()).toBe('x');
      await until(() => `${metrics()}` === '3,2,0', 'room for the waiter');
      expect(taken).toEqual(['x', 'a', 'b', 'c']);
      for (const [client, text] of [
        [a, 'a'],
        [b, 'b'],
        [c, 'c'],
        [d, 'd'],
        [y, 'y'],
      ] as const) {
        await until(() => taken.includes(text), text);
        answer(text);
        expect(await client?.readText()).toBe(text);
      }
      expect(taken).toEqual(['x', 'a', 'b', 'c', 'd', 'y']);
    });

    it('serves those that waited and half-closed meanwhile', async () => {
      const limits = { queuedMaxRequests: 1, maxPendingRequests: 1 };
      const { testServer, taken, answer, metrics } = await startParking(transport, limits);
      const clients = await connectMany(testServer, 4);
      for (const [i, client] of clients.entries()) {
        client.send(frame(`${i}`));
        const expected = [1, Math.min(i, 1), Math.max(0, i - 1)];
        await until(() => `${metrics()}` === `${expected}`, `${expected}`);
      }
      const [first, second, third, fourth] = clients as [Client, Client, Client, Client];
      second.end();
      third.end();
      for (const [i, client] of [first, second, third, fourth].entries()) {
        // The core counts what a handler thread has claimed a moment before its handler begins.
        await until(() => taken.includes(`${i}`), `request ${i}`);
        answer(`${i}`);
        expect(await client.readText()).toBe(`${i}`);
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
      const { testServer, taken, answer, metrics } = await startParking(transport, limits);
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
      const { testServer, taken, answer, metrics } = await startParking(transport, limits);
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
      const { testServer, taken, answer, metrics } = await startParking(transport, limits);
      const clients = await connectMany(testServer, 4);
      // A pool's threads may serve a connection before this one has heard of it.
      await until(() => testServer.opened.all.length === 4, 'every connection');
      for (const [i, client] of clients.entries()) {
        client.send(frame(`${i}`));
        const expected = [1, Math.min(i, 1), Math.max(0, i - 1)];
        await until(() => `${metrics()}` === `${expected}`, `${expected}`);
      }
      const [, queued, waiting] = testServer.opened.all;
      waiting?.close();
      await until(() => `${metrics()}` === '1,1,1', 'the end of one that waits');
      queued?.close();
      // A handler on another thread may take what is queued until the processor knows of the close:
      // it does when it has opened and closed another connection since.
      (await testServer.connect()).end();
      const hasEnded = () => testServer.closed.all.some(({ code }) => code === 'PEER_CLOSED');
      await until(hasEnded, 'the end of another connection');
      answer('0');
      await until(() => taken.length === 2, 'the next');
      answer('3');
      expect(await clients[3]?.readText()).toBe('3');
      expect(taken).toEqual(['0', '3']);
    });

    it('does not keep a server with waiting connections from closing', async () => {
      const limits = { queuedMaxRequests: 2, maxPendingRequests: 1 };
      const { testServer, metrics } = await startParking(transport, limits);
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
});
