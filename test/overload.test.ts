import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type OverloadChange, replyAndClose, type SocketServerOptions } from 'odradek';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { bytes, frame } from './support/bytes.js';
import type { Client } from './support/client.js';
import { connectMany } from './support/handlers.js';
import { commandPool, handlers, poolTransports, Shared } from './support/pool.js';
import { expectMetrics, startServer, type TestServer } from './support/server.js';
import { kindOf, type Placement, placements } from './support/transports.js';
import { defer, Inbox, nextTurn, until } from './support/wait.js';

// The server looks when the test lets a second pass.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
});

const second = 1000;
const off = Infinity;

function look(count = 1): void {
  vi.advanceTimersByTime(count * second);
}

/** Lets it look until it has come to a step. */
async function comesTo({ server }: TestServer, step: string): Promise<void> {
  await until(() => {
    look();
    return server.metrics().overloadStep === step;
  }, `overload to be ${step}`);
}

interface Held {
  readonly text: string;
  answer(): void;
}

type Options = Partial<SocketServerOptions>;

/** A server that has one request in work at a time, which the test answers. */
async function startHeld(placement: Placement, options: Options) {
  const calls = new Inbox<Held>('a request');
  const changes: OverloadChange[] = [];
  const testServer = await startServer(placement, {
    maxPendingRequests: 1,
    ...options,
    handler: ({ body }) => {
      const reply = defer<Buffer>();
      const text = body.toString();
      calls.push({ text, answer: () => reply.resolve(bytesOf(`done ${text}`)) });
      return reply.promise;
    },
  });
  testServer.server.on('overload', (change) => changes.push(change));
  return { testServer, server: testServer.server, calls, changes };
}

const bytesOf = (text: string) => Buffer.from(text);

/** One request is in work, and `count - 1` others wait in the queue. */
async function startWaiting(placement: Placement, count: number, options: Options) {
  const held = await startHeld(placement, options);
  const clients = (await connectMany(held.testServer, count)) as [Client, ...Client[]];
  clients[0].send(frame('0'));
  const first = await held.calls.next();
  for (const [i, client] of clients.entries()) if (i > 0) client.send(frame(`${i}`));
  await expectMetrics(held.server, { requestQueueSize: count - 1 });
  return { ...held, clients, first };
}

const refusing = { shortenTimeoutsMs: off, stopAcceptingMs: off, refuseRequestsMs: 1 };

describe.each(placements)('overload (%s)', (transport) => {
  it('cuts off parts of frames that hold all memory, after a tenth of their time', async () => {
    const testServer = await startServer(transport, {
      queuedMaxRequestBytes: 1000,
      frameTimeoutMs: 5000,
      overload: { shortenTimeoutsMs: 20, stopAcceptingMs: off, refuseRequestsMs: off },
    });
    const [one, other, client] = (await connectMany(testServer, 3)) as [Client, Client, Client];
    const began = performance.now();
    for (const attacker of [one, other]) attacker.send(frame(Buffer.alloc(3000)).subarray(0, 600));
    await until(() => testServer.server.metrics().memoryPoolUsed >= 1000, 'all memory');
    client.send(frame('hello'));
    await comesTo(testServer, 'shortenTimeouts');
    await until(() => {
      vi.advanceTimersByTime(50);
      return testServer.closed.all.length === 2;
    }, 'their end');
    expect(testServer.closed.all.map(({ code }) => code)).toEqual([
      'FRAME_TIMEOUT',
      'FRAME_TIMEOUT',
    ]);
    expect(performance.now() - began).toBeLessThan(5000);
    expect(await client.readText()).toBe('hello');
    await comesTo(testServer, 'none');
    await expectMetrics(testServer.server, {
      overloadStepsTotal: { shortenTimeouts: 1, stopAccepting: 0, refuseRequests: 0 },
      longestWaitMs: 0,
    });
  });

  it('is no full queue, in which nobody waits for long', async () => {
    const { testServer, server, calls, changes } = await startHeld(transport, {
      queuedMaxRequests: 1,
      overload: { shortenTimeoutsMs: 60_000, refuseRequestsMs: off, stopAcceptingMs: off },
    });
    const clients = await connectMany(testServer, 3);
    for (const [i, client] of clients.entries()) client.send(frame(`${i}`));
    for (let left = clients.length; left > 0; left--) {
      await expectMetrics(server, { connectionsWaitingForRoom: Math.max(0, left - 2) });
      look(5);
      (await calls.next()).answer();
    }
    for (const [i, client] of clients.entries()) expect(await client.readText()).toBe(`done ${i}`);
    expect(changes).toEqual([]);
  });

  it('lets nobody in but by the protected listener, until the wait is over', async () => {
    const { testServer, server, calls, clients, first } = await startWaiting(transport, 2, {
      listeners: [{ port: 0 }, { name: 'ADMIN', port: 0 }],
      protectedListener: 'ADMIN',
      overload: { shortenTimeoutsMs: 1, stopAcceptingMs: 1, refuseRequestsMs: off },
    });
    await comesTo(testServer, 'stopAccepting');
    const late = await testServer.connect();
    late.send(frame('late'));
    const [plain, admin] = server.metrics().listeners;
    const admitted = await testServer.connect({ listener: 'ADMIN' });
    await expectMetrics(server, { connectionsAcceptedTotal: 3 });
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(server.metrics().listeners.map((each) => each.connectionsAcceptedTotal)).toEqual([
      plain?.connectionsAcceptedTotal,
      (admin?.connectionsAcceptedTotal ?? 0) + 1,
    ]);
    // A change of limits lets nobody in, either.
    server.updateLimits({ maxConnections: 1000 });
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(server.metrics().connections).toBe(3);
    first.answer();
    (await calls.next()).answer();
    expect(await clients[1]?.readText()).toBe('done 1');
    await comesTo(testServer, 'none');
    (await calls.next()).answer();
    expect(await late.readText()).toBe('done late');
    admitted.end();
    await until(
      () => (server.metrics().listeners[0]?.acceptorBlockedPercent ?? 0) > 0,
      'blocked time',
    );
  });

  it('keeps nobody waiting whom close() sends away', async () => {
    const { testServer, server, clients, first, calls } = await startWaiting(transport, 2, {
      overload: { shortenTimeoutsMs: 1, stopAcceptingMs: 1, refuseRequestsMs: off },
    });
    await comesTo(testServer, 'stopAccepting');
    const late = await testServer.connect();
    const closing = server.close();
    first.answer();
    (await calls.next()).answer();
    expect(await clients[1]?.readText()).toBe('done 1');
    expect(await closing).toEqual({ completed: 2, cut: 0 });
    await late.seeEnd();
    await expectMetrics(server, { connectionsAcceptedTotal: 2, overloadStep: 'none' });
  });

  it('ends with the last connection, so that others are let in', async () => {
    const { testServer, server, clients, first } = await startWaiting(transport, 2, {
      overload: { shortenTimeoutsMs: 1, stopAcceptingMs: 1, refuseRequestsMs: off },
    });
    await comesTo(testServer, 'stopAccepting');
    const late = await testServer.connect();
    for (const client of clients) client.reset();
    first.answer();
    await expectMetrics(server, { connectionsAcceptedTotal: 3 });
    late.send(frame('late'));
    expect(server.metrics().overloadStep).toBe('none');
  });

  describe('with requests that are refused', () => {
    it('answers each by onOverload, once, and goes on with what was begun', async () => {
      const refused: string[] = [];
      const { testServer, server, clients, first, calls, changes } = await startWaiting(
        transport,
        4,
        {
          overload: refusing,
          onOverload: ({ body }) => {
            refused.push(body.toString());
            return bytesOf(`busy ${body}`);
          },
        },
      );
      await comesTo(testServer, 'refuseRequests');
      expect(refused).toEqual([]);
      first.answer();
      for (const [i, client] of clients.entries()) {
        expect(await client.readText()).toBe(i === 0 ? 'done 0' : `busy ${i}`);
      }
      expect(refused.sort()).toEqual(['1', '2', '3']);
      await comesTo(testServer, 'none');
      clients[1]?.send(frame('again'));
      (await calls.next()).answer();
      expect(await clients[1]?.readText()).toBe('done again');
      await expectMetrics(server, {
        requestsRefusedTotal: 3,
        overloadStepsTotal: { shortenTimeouts: 0, stopAccepting: 0, refuseRequests: 1 },
        responsesTotal: 5,
      });
      expect(changes.map(({ step, previousStep }) => [previousStep, step])).toEqual([
        ['none', 'refuseRequests'],
        ['refuseRequests', 'none'],
      ]);
      expect(changes[0]?.longestWaitMs).toBeGreaterThanOrEqual(1);
    });

    it('closes their connections in order where there is no onOverload', async () => {
      const { testServer, server, clients, first } = await startWaiting(transport, 3, {
        overload: refusing,
      });
      await comesTo(testServer, 'refuseRequests');
      first.answer();
      expect(await clients[0].readText()).toBe('done 0');
      for (const client of clients.slice(1)) expect((await client.readToEnd()).length).toBe(0);
      await expectMetrics(server, { connectionsClosedTotal: 2, requestsRefusedTotal: 2 });
      await until(() => testServer.closed.all.length === 2, 'their ends');
      expect(testServer.closed.all).toEqual(
        Array(2).fill({
          code: 'OVERLOADED',
          message: 'the server is overloaded',
          unanswered: 1,
        }),
      );
    });

    it.each<[string, NonNullable<Options['onOverload']>, string]>([
      ['later', async ({ body }) => bytesOf(`busy ${body}`), 'CLIENT'],
      ['and closes', () => replyAndClose(bytesOf('busy 1')), 'CLOSED_BY_HANDLER'],
    ])('takes what a handler may answer: %s', async (_name, onOverload, code) => {
      const { testServer, clients, first } = await startWaiting(transport, 2, {
        overload: refusing,
        onOverload,
      });
      await comesTo(testServer, 'refuseRequests');
      first.answer();
      expect(await clients[1]?.readText()).toBe('busy 1');
      if (code === 'CLIENT') return;
      expect(await testServer.closed.next()).toMatchObject({ code });
    });

    it.each<[string, NonNullable<Options['onOverload']>]>([
      [
        'throws',
        () => {
          throw new Error('no');
        },
      ],
      ['rejects', () => Promise.reject(new Error('no'))],
      ['returns what is no reply', () => undefined as never],
    ])('asks onHandlerError where onOverload %s', async (_name, onOverload) => {
      const { testServer, clients, first } = await startWaiting(transport, 2, {
        overload: refusing,
        onOverload,
        onHandlerError: () => bytesOf('failed'),
      });
      await comesTo(testServer, 'refuseRequests');
      first.answer();
      expect(await clients[1]?.readText()).toBe('failed');
      expect(testServer.errors.all).toHaveLength(1);
    });

    it('refuses none of them when the server closes', async () => {
      const { testServer, server, clients, first, calls } = await startWaiting(transport, 2, {
        overload: refusing,
        onOverload: () => bytesOf('busy'),
      });
      await comesTo(testServer, 'refuseRequests');
      const closing = server.close();
      first.answer();
      (await calls.next()).answer();
      expect(await clients[1]?.readText()).toBe('done 1');
      expect(await closing).toEqual({ completed: 2, cut: 0 });
      expect(server.metrics()).toMatchObject({ overloadStep: 'none', requestsRefusedTotal: 0 });
    });
  });

  it('is published to diagnostics_channel, with the server', async () => {
    const messages: unknown[] = [];
    const listener = (message: unknown) => messages.push(message);
    subscribe('odradek.overload', listener);
    onTestFinished(() => void unsubscribe('odradek.overload', listener));
    const { testServer, server, changes } = await startWaiting(transport, 2, {
      overload: { shortenTimeoutsMs: 1 },
    });
    await comesTo(testServer, 'shortenTimeouts');
    expect(messages).toEqual([{ server, change: changes[0] }]);
  });

  it('is looked for while there are connections alone', async () => {
    const testServer = await startServer(transport);
    // The js transport's time-outs have one, too.
    const others = kindOf(transport) === 'js' ? 1 : 0;
    expect(vi.getTimerCount()).toBe(0);
    const [client] = await testServer.connectBoth();
    expect(vi.getTimerCount()).toBe(1 + others);
    testServer.server.updateLimits({
      overload: { shortenTimeoutsMs: off, stopAcceptingMs: off, refuseRequestsMs: off },
    });
    expect(vi.getTimerCount()).toBe(others);
    testServer.server.updateLimits({ overload: { stopAcceptingMs: 1 } });
    expect(vi.getTimerCount()).toBe(1 + others);
    client.end();
    await testServer.closed.next();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe.each(poolTransports)('overload of a handler pool (%s)', (transport) => {
  async function startBlocked(module: string) {
    const shared = new Shared();
    const handlerPool = { ...commandPool(shared), module: handlers(module) };
    const testServer = await startServer(transport, { handlerPool, overload: refusing });
    const clients = (await connectMany(testServer, 2)) as [Client, Client];
    const gate = shared.gate();
    clients[0].send(frame(`block ${gate}`));
    await until(() => shared.count('begun') === 1, 'the first');
    clients[1].send(frame('echo'));
    await expectMetrics(testServer.server, { requestQueueSize: 1 });
    await comesTo(testServer, 'refuseRequests');
    shared.open(gate);
    expect(await clients[0].readText()).toBe(`block ${gate}`);
    return { testServer, shared, clients };
  }

  it('is known to a thread that was busy when it came, by its module', async () => {
    const { testServer, shared, clients } = await startBlocked('refusing.mjs');
    expect(await clients[1].readText()).toBe('refused: echo');
    expect(shared.count('begun')).toBe(1);
    await expectMetrics(testServer.server, { requestsRefusedTotal: 1 });
  });

  it('closes the connection where the module exports no onOverload', async () => {
    const { testServer, clients } = await startBlocked('commands.mjs');
    expect((await clients[1].readToEnd()).equals(bytes(''))).toBe(true);
    expect(await testServer.closed.next()).toMatchObject({ code: 'OVERLOADED', unanswered: 1 });
  });
});
