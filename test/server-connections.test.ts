import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { frame } from './support/bytes.js';
import { connectMany } from './support/handlers.js';
import { makeServer, startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { defer, Inbox, until } from './support/wait.js';

describe.each(placements)("a server's connections (%s)", (transport) => {
  it('are those that are open, as they are at that moment', async () => {
    const testServer = await startServer(transport);
    const { server } = testServer;
    expect([...server.connections()]).toEqual([]);
    await connectMany(testServer, 3);
    await until(() => testServer.opened.all.length === 3, 'all of them');
    const ids = (connections: Iterable<{ id: string }>): string[] =>
      [...connections].map(({ id }) => id).sort();
    expect(ids(server.connections())).toEqual(ids(testServer.opened.all));
    const snapshot = server.connections();
    for (const connection of server.connections()) connection.close('enough');
    await until(() => testServer.closed.all.length === 3, 'their ends');
    expect([...server.connections()]).toEqual([]);
    expect(ids(snapshot)).toEqual(ids(testServer.opened.all));
  });

  it('are none before the start and after the end', async () => {
    const testServer = makeServer(transport);
    expect([...testServer.server.connections()]).toEqual([]);
    await testServer.server.start();
    await testServer.connectBoth();
    await testServer.server.close();
    expect([...testServer.server.connections()]).toEqual([]);
  });
});

describe.each(placements)('closeIdleConnections() (%s)', (transport) => {
  it('closes those on which nothing is under way, and no others', async () => {
    const gate = defer();
    const testServer = await startServer(transport, {
      handler: async ({ body }) => {
        if (body.toString() === 'slow') await gate.promise;
        return body;
      },
    });
    const [idle, used, busy, half] = await connectMany(testServer, 4);
    used?.send(frame('quick'));
    expect(await used?.readText()).toBe('quick');
    busy?.send(frame('slow'));
    const whole = frame('in two parts');
    half?.send(whole.subarray(0, 7));
    const { server } = testServer;
    const sent = frame('quick').length + frame('slow').length + 7;
    await until(() => server.metrics().bytesReadTotal === sent, 'what was sent');
    server.closeIdleConnections();
    expect(await idle?.seeEnd()).toBe('fin');
    expect(await used?.seeEnd()).toBe('fin');
    gate.resolve();
    expect(await busy?.readText()).toBe('slow');
    half?.send(whole.subarray(7));
    expect(await half?.readText()).toBe('in two parts');
    await until(() => testServer.closed.all.length >= 2, 'both ends');
    expect(testServer.closed.all.map(({ code }) => code)).toEqual([
      'CLOSED_BY_SERVICE',
      'CLOSED_BY_SERVICE',
    ]);
  });

  it('does nothing before the start and after the end', async () => {
    const { server } = makeServer(transport);
    server.closeIdleConnections();
    await server.start();
    await server.close();
    server.closeIdleConnections();
  });
});

describe.each(placements)('draining (%s)', (transport) => {
  it('is aborted when close() begins, so that handlers that wait can answer', async () => {
    const requests = new Inbox<string>('a request');
    const testServer = await startServer(transport, {
      handler: async ({ body }) => {
        const drained = once(testServer.server.draining, 'abort');
        requests.push(body.toString());
        await drained;
        return body;
      },
    });
    const { server } = testServer;
    expect(server.draining.aborted).toBe(false);
    const client = await testServer.connect();
    client.send(frame('when it ends'));
    await requests.next();
    const closing = server.close();
    expect(server.draining.aborted).toBe(true);
    expect(await client.readText()).toBe('when it ends');
    expect(await closing).toEqual({ completed: 1, cut: 0 });
  });
});
