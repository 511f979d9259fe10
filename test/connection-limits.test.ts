import type { ListenerMetrics } from 'odradek';
import { describe, expect, it, vi } from 'vitest';
import { frame } from './support/bytes.js';
import type { Client } from './support/client.js';
import { connectMany } from './support/handlers.js';
import { expectMetrics, startServer, type TestServer } from './support/server.js';
import { placements } from './support/transports.js';
import { nextTurn, patienceMs, until } from './support/wait.js';

async function expectServed(...clients: Client[]): Promise<void> {
  for (const client of clients) {
    client.send(frame('hello'));
    expect(await client.readText()).toBe('hello');
  }
}

/** What the acceptor of a listener, by default the first, counts. */
function counts({ server }: TestServer, listener = 0) {
  return server.metrics().listeners[listener];
}

/** Waits until the acceptor says so: it counts a connection after that may have been served. */
async function expectCounts(
  testServer: TestServer,
  expected: Partial<ListenerMetrics>,
  listener = 0,
): Promise<void> {
  await vi.waitFor(() => expect(counts(testServer, listener)).toMatchObject(expected), {
    timeout: patienceMs,
    interval: 1,
  });
}

/** Sends a request, and waits until another's was answered since: there is no answer to this one. */
async function expectNotServed(client: Client, served: Client): Promise<void> {
  client.send(frame('in vain'));
  await expectServed(served, served);
  for (let i = 0; i < 5; i++) await nextTurn();
  expect(client.available).toBe(0);
}

/** Connects from one address until that was more than may come in a second. */
async function connectUntilHeldBack(testServer: TestServer): Promise<Client> {
  for (;;) {
    const client = await testServer.connect();
    const isCounted = () => {
      const { connectionsAcceptedTotal = 0, connectionsThrottledTotal = 0 } =
        counts(testServer) ?? {};
      return connectionsAcceptedTotal + connectionsThrottledTotal;
    };
    const before = testServer.clients.length;
    await until(() => isCounted() === before, 'its verdict');
    if (counts(testServer)?.connectionsThrottledTotal === 1) return client;
  }
}

const two = { listeners: [{ port: 0 }, { name: 'ADMIN', port: 0 }] };

describe.each(placements)('limits of connections (%s)', (transport) => {
  describe('maxConnections', () => {
    it('keeps others waiting until one leaves', async () => {
      const testServer = await startServer(transport, { maxConnections: 2 });
      const [first, second, third, fourth] = (await connectMany(testServer, 4)) as Client[];
      await expectServed(first as Client, second as Client);
      await expectNotServed(third as Client, first as Client);
      await expectCounts(testServer, { connections: 2, connectionsAcceptedTotal: 2 });
      first?.end();
      expect(await third?.readText()).toBe('in vain');
      await expectNotServed(fourth as Client, third as Client);
      await expectCounts(testServer, { connectionAcceptThrottleMs: 0 });
      second?.socket.resetAndDestroy();
      expect(await fourth?.readText()).toBe('in vain');
      await until(() => (counts(testServer)?.acceptorBlockedPercent ?? 0) > 0, 'blocked time');
    });

    it('of a listener is its own', async () => {
      const listeners = [
        { port: 0, maxConnections: 1 },
        { name: 'ADMIN', port: 0 },
      ];
      const testServer = await startServer(transport, { listeners });
      const [first, second] = (await connectMany(testServer, 2)) as [Client, Client];
      const admins = [
        await testServer.connect({ listener: 'ADMIN' }),
        await testServer.connect({ listener: 'ADMIN' }),
      ];
      await expectServed(first, ...admins);
      await expectNotServed(second, first);
      await expectCounts(testServer, { name: 'ADMIN', connections: 2 }, 1);
      first.end();
      expect(await second.readText()).toBe('in vain');
    });

    it('does not keep the server from closing', async () => {
      const testServer = await startServer(transport, { maxConnections: 1 });
      const [first, second] = (await connectMany(testServer, 2)) as [Client, Client];
      await expectServed(first);
      await expectNotServed(second, first);
      expect(await testServer.server.close({ timeoutMs: 1000 })).toMatchObject({ cut: 0 });
      await first.seeEnd();
      await second.ended;
    });
  });

  describe('protectedListener', () => {
    it('takes the places of those that were quiet for longest', async () => {
      const limits = { ...two, maxConnections: 2, protectedListener: 'ADMIN', networkThreads: 1 };
      const testServer = await startServer(transport, limits);
      const [first, second] = (await connectMany(testServer, 2)) as [Client, Client];
      await expectServed(first, second, first);
      const admin = await testServer.connect({ listener: 'ADMIN' });
      await expectServed(admin);
      expect(await second.seeEnd()).toBe('fin');
      expect(await testServer.closed.next()).toEqual({
        code: 'TOO_MANY_CONNECTIONS',
        message: 'there are more connections than maxConnections',
        unanswered: 0,
      });
      await expectMetrics(testServer.server, { connectionsEvictedTotal: 1, connections: 2 });
      await expectServed(first, admin);
    });

    it('lets nobody wait for the places of all', async () => {
      const limits = { ...two, maxConnections: 1, protectedListener: 'ADMIN' };
      const testServer = await startServer(transport, limits);
      const admins: Client[] = [];
      for (let i = 0; i < 3; i++) admins.push(await testServer.connect({ listener: 'ADMIN' }));
      await expectServed(...admins);
      const other = await testServer.connect();
      await expectNotServed(other, admins[0] as Client);
      expect(testServer.closed.all).toEqual([]);
    });
  });

  describe('maxConnectionsPerIp', () => {
    it('closes one more at once, and lets in others', async () => {
      const testServer = await startServer(transport, { maxConnectionsPerIp: 2 });
      const [first, second] = (await connectMany(testServer, 2)) as [Client, Client];
      await expectServed(first, second);
      const third = await testServer.connect();
      expect(await third.seeEnd()).toBe('fin');
      await expectServed(await testServer.connect({ from: '127.0.0.2' }));
      await expectCounts(testServer, { connections: 3, connectionsRefusedTotal: 1 });
      first.end();
      await until(() => counts(testServer)?.connections === 2, 'a place');
      await expectServed(await testServer.connect());
      await until(() => testServer.opened.all.length === 4, 'four that were let in');
    });

    it('is one of all listeners together', async () => {
      const testServer = await startServer(transport, { ...two, maxConnectionsPerIp: 1 });
      await expectServed(await testServer.connect());
      const other = await testServer.connect({ listener: 'ADMIN' });
      expect(await other.seeEnd()).toBe('fin');
    });

    it('may be another for some addresses', async () => {
      const testServer = await startServer(transport, {
        maxConnectionsPerIp: 0,
        maxConnectionsPerIpOverrides: { '127.0.0.0/30': 1, '127.0.0.2': 2 },
      });
      await expectServed(await testServer.connect());
      expect(await (await testServer.connect()).seeEnd()).toBe('fin');
      const from = '127.0.0.2';
      await expectServed(await testServer.connect({ from }), await testServer.connect({ from }));
      expect(await (await testServer.connect({ from })).seeEnd()).toBe('fin');
      expect(await (await testServer.connect({ from: '127.0.0.9' })).seeEnd()).toBe('fin');
    });

    it('counts IPv4 the same through a listener of IPv6', async () => {
      const listeners = [{ port: 0 }, { name: 'V6', port: 0, host: '::' }];
      const testServer = await startServer(transport, { listeners, maxConnectionsPerIp: 1 });
      await expectServed(await testServer.connect({ listener: 'V6' }));
      expect(await (await testServer.connect()).seeEnd()).toBe('fin');
      await expectServed(await testServer.connect({ listener: 'V6', host: '::1' }));
    });
  });

  describe('rates', () => {
    it('of all keep accepting waiting', async () => {
      const testServer = await startServer(transport, { maxConnectionCreationRate: 2 });
      const begin = performance.now();
      const clients = await connectMany(testServer, 4);
      await expectServed(...clients);
      // Two at once, and one each half second.
      expect(performance.now() - begin).toBeGreaterThan(900);
      await expectCounts(testServer, {
        connectionsAcceptedTotal: 4,
        connectionAcceptThrottleTimesTotal: 2,
      });
      const { connectionAcceptThrottleMs = 0, connectionAcceptThrottleAvgMs } =
        counts(testServer) ?? {};
      expect(connectionAcceptThrottleMs).toBeGreaterThan(900);
      expect(connectionAcceptThrottleAvgMs).toBe(connectionAcceptThrottleMs / 2);
    });

    it('of a listener are its own', async () => {
      const testServer = await startServer(transport, {
        listeners: [
          { port: 0, maxConnectionCreationRate: 1 },
          { name: 'ADMIN', port: 0 },
        ],
      });
      const [first, second] = (await connectMany(testServer, 2)) as [Client, Client];
      await expectServed(first);
      second.send(frame('later'));
      for (let i = 0; i < 5; i++) {
        await expectServed(await testServer.connect({ listener: 'ADMIN' }));
      }
      expect(await second.readText()).toBe('later');
    });

    it('of an address hold it back, then close it, and nobody waits', async () => {
      const testServer = await startServer(transport, { maxConnectionCreationRatePerIp: 1 });
      await expectServed(await testServer.connect());
      const held = await connectUntilHeldBack(testServer);
      await expectServed(await testServer.connect({ from: '127.0.0.2' }));
      expect(await held.seeEnd()).toBe('fin');
      await expectServed(await testServer.connect({ from: '127.0.0.3' }));
      await expectCounts(testServer, {
        connectionsRefusedTotal: 0,
        throttledSockets: 0,
        acceptorBlockedPercent: 0,
        connectionAcceptThrottleTimesTotal: 0,
        connectionAcceptThrottleMs: 0,
        connectionAcceptThrottleAvgMs: 0,
      });
      const heldBackMs = counts(testServer)?.ipConnectionAcceptThrottleMs ?? 0;
      expect(heldBackMs).toBeGreaterThan(0);
      expect(heldBackMs).toBeLessThanOrEqual(1000);
      expect(counts(testServer)?.ipConnectionAcceptThrottleAvgMs).toBe(heldBackMs);
    });

    it('leave nobody held back when the server closes', async () => {
      const testServer = await startServer(transport, { maxConnectionCreationRatePerIp: 1 });
      const held = await connectUntilHeldBack(testServer);
      await testServer.server.close();
      await held.ended;
      await expectCounts(testServer, { throttledSockets: 0 });
    });
  });

  it('have rates to be compared with', async () => {
    const testServer = await startServer(transport, two);
    await expectServed(await testServer.connect(), await testServer.connect());
    await until(() => testServer.server.metrics().connectionAcceptRate > 0, 'a rate');
    const { connectionAcceptRate, listeners } = testServer.server.metrics();
    expect(connectionAcceptRate).toBeGreaterThan(0);
    expect(listeners[0]?.connectionAcceptRate).toBe(connectionAcceptRate);
    expect(listeners[1]?.connectionAcceptRate).toBe(0);
  });

  describe('updateLimits()', () => {
    it('lets in who waits', async () => {
      const testServer = await startServer(transport, { maxConnections: 1 });
      const [first, second] = (await connectMany(testServer, 2)) as [Client, Client];
      await expectServed(first);
      await expectNotServed(second, first);
      testServer.server.updateLimits({ maxConnections: Infinity });
      expect(await second.readText()).toBe('in vain');
    });

    it('closes those that are too many, quiet for longest first', async () => {
      const testServer = await startServer(transport, { networkThreads: 1 });
      const clients = (await connectMany(testServer, 4)) as [Client, Client, Client, Client];
      await expectServed(...clients);
      await expectServed(clients[0], clients[2]);
      testServer.server.updateLimits({ maxConnections: 2 });
      expect(await clients[1].seeEnd()).toBe('fin');
      expect(await clients[3].seeEnd()).toBe('fin');
      await testServer.closed.next();
      await testServer.closed.next();
      await expectServed(clients[0], clients[2]);
      await expectMetrics(testServer.server, { connectionsEvictedTotal: 2, connections: 2 });
    });

    it('changes nothing where one limit is wrong', async () => {
      const testServer = await startServer(transport, { ...two, maxConnections: 1 });
      const { server } = testServer;
      const wrong = expect.objectContaining({ code: 'ERR_ODRADEK_INVALID_OPTION' });
      for (const changes of [
        { maxConnections: 5, maxConnectionsPerIp: -1 },
        { maxConnections: 5, listeners: { ADMIN: { maxConnections: 0 } } },
        { maxConnections: 5, listeners: { NOBODY: {} } },
        { maxConnections: 5, frameTimeoutMs: 0.5 },
        { maxConnections: 5, maxQueue: 3 } as object,
      ]) {
        expect(() => server.updateLimits(changes)).toThrow(wrong);
      }
      const [first, second] = (await connectMany(testServer, 2)) as [Client, Client];
      await expectServed(first);
      await expectNotServed(second, first);
    });

    it('goes for a listener, and leaves what is not named', async () => {
      const testServer = await startServer(transport, { ...two, maxConnectionsPerIp: 2 });
      testServer.server.updateLimits({ listeners: { ADMIN: { maxConnections: 1 } } });
      const admin = await testServer.connect({ listener: 'ADMIN' });
      const waiting = await testServer.connect({ listener: 'ADMIN' });
      await expectServed(admin);
      await expectNotServed(waiting, admin);
      testServer.server.updateLimits({ listeners: { ADMIN: { maxConnections: 2 } } });
      expect(await waiting.readText()).toBe('in vain');
      expect(await (await testServer.connect()).seeEnd()).toBe('fin');
    });

    it('goes for what is waited for already', async () => {
      const testServer = await startServer(transport, { connectionsMaxIdleMs: 0 });
      const client = await testServer.connect();
      await expectServed(client);
      testServer.server.updateLimits({ connectionsMaxIdleMs: 50 });
      expect(await client.seeEnd()).toBe('fin');
      expect(await testServer.closed.next()).toMatchObject({ code: 'IDLE_TIMEOUT' });
    });

    it('is refused unless the server runs', async () => {
      const testServer = await startServer(transport);
      await testServer.server.close();
      expect(() => testServer.server.updateLimits({})).toThrow(
        expect.objectContaining({ code: 'ERR_ODRADEK_INVALID_STATE' }),
      );
    });
  });
});
