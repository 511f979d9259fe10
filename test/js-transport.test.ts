import { spawnSync } from 'node:child_process';
import { custom, isNativeAvailable, SocketServer } from 'odradek';
import { describe, expect, it } from 'vitest';
import { frame, frames, numbered, pattern } from './support/bytes.js';
import { expectSeesAnotherEnd } from './support/handlers.js';
import { expectMetrics, startServer } from './support/server.js';
import type { TransportName } from './support/transports.js';
import { defer, nextTurn, until } from './support/wait.js';

/** In what the js transport differs from the native one, since `node:net` can't do it. */
describe('the js transport', () => {
  it('notices a reset behind unread bytes only when it reads or writes again', async () => {
    const { testServer, signal, answer } = await resetBehindUnread('js');
    for (let i = 0; i < 20; i++) await nextTurn();
    expect(signal.aborted).toBe(false);
    answer(pattern(100));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET' });
  });

  it('notices no reset while onConnect decides', async () => {
    const decision = defer<undefined>();
    const testServer = await startServer('js', { onConnect: () => decision.promise });
    const [client] = await testServer.connectBoth();
    client.reset();
    for (let i = 0; i < 20; i++) await nextTurn();
    expect(testServer.closed.all).toHaveLength(0);
    decision.resolve(undefined);
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET', unanswered: 0 });
  });

  it('has one processor, the event loop, which makes no system calls of its own', async () => {
    const testServer = await startServer('js', { networkThreads: 4 });
    const client = await testServer.connect();
    client.send(frames(numbered(10)));
    for (let i = 0; i < 10; i++) await client.readFrame();
    const { processors } = testServer.server.metrics();
    expect(processors).toMatchObject([{ id: 0, connections: 1, pollCalls: 0, wakeCalls: 0 }]);
  });

  it('gives the room of a closed connection to the next at once', async () => {
    const { testServer, counts } = await closeQueued('js');
    await until(() => counts() === '1,1,0', 'the next in line');
    expect(testServer.server.metrics().requestsTotal).toBe(3);
  });

  it('never shows a socket that has no address any more when it is accepted', async () => {
    const testServer = await startServer('js');
    resetBeforeAccept(testServer.port());
    const [, connection] = await testServer.connectBoth();
    expect(connection.id).toMatch(/-0-0$/);
    expect(testServer.closed.all).toHaveLength(0);
    expect(testServer.server.metrics().connectionsAcceptedTotal).toBe(1);
  });

  it('counts frames of `custom` framing in its queue', async () => {
    expect(await queueCustomFrames('js')).toEqual({ requestsTotal: 3, requestQueueSize: 2 });
  });

  it('keeps the process alive while it runs, unless unref() says otherwise', async () => {
    const sockets = (): number =>
      process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP')).length;
    // Those of the tests before are closing.
    await until(() => sockets() === 0, 'a quiet process');
    const testServer = await startServer('js');
    const { server } = testServer;
    expect(sockets()).toBe(1);
    expect(server.unref()).toBe(server);
    expect(sockets()).toBe(0);
    const client = await testServer.connect();
    client.socket.unref();
    client.send(frame('hello'));
    expect(await client.readText()).toBe('hello');
    expect(sockets()).toBe(0);
    expect(server.ref()).toBe(server);
    expect(sockets()).toBe(2);
  });

  it('can be made without being started, and holds nothing then', async () => {
    const before = process.getActiveResourcesInfo().length;
    const server = new SocketServer({
      listeners: [{ port: 0 }],
      handler: ({ body }) => body,
      transport: 'js',
    });
    expect(process.getActiveResourcesInfo().length).toBe(before);
    await server.close();
  });
});

/** The other side of each difference. */
describe.skipIf(!isNativeAvailable())('the native transport, where js differs', () => {
  it('notices a reset behind unread bytes at once', async () => {
    const { testServer, signal, answer } = await resetBehindUnread('native');
    await until(() => signal.aborted, 'the abort');
    answer(pattern(100));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET' });
  });

  it('notices a reset while onConnect decides', async () => {
    const testServer = await startServer('native', {
      onConnect: () => new Promise<undefined>(() => undefined),
    });
    const [client] = await testServer.connectBoth();
    client.reset();
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET', unanswered: 0 });
  });

  it('keeps the room of a closed connection until its requests are taken', async () => {
    const { testServer, counts, answer } = await closeQueued('native');
    await expectSeesAnotherEnd(testServer);
    expect(counts()).toBe('1,1,1');
    answer(Buffer.from('done'));
    await until(() => counts() === '0,0,0', 'the next in line');
    await expectMetrics(testServer.server, { requestsTotal: 3, responsesTotal: 2 });
  });

  it('shows a socket that was reset before it is accepted, and its end', async () => {
    const testServer = await startServer('native');
    resetBeforeAccept(testServer.port());
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET', unanswered: 0 });
    expect(testServer.opened.all).toHaveLength(1);
  });

  it('counts pieces of `custom` framing in its queue', async () => {
    expect(await queueCustomFrames('native')).toEqual({ requestsTotal: 2, requestQueueSize: 1 });
  });
});

/** A client whose request is in its handler, which sends more and resets. */
async function resetBehindUnread(transport: TransportName) {
  const reply = defer<Buffer>();
  const signals: AbortSignal[] = [];
  const testServer = await startServer(transport, {
    handler: ({ signal }) => {
      signals.push(signal);
      return reply.promise;
    },
  });
  const client = await testServer.connect();
  client.send(frame('a'));
  await until(() => signals.length === 1, 'the request');
  // The js transport reads the first of these although the handler works, and keeps it. At the
  // second one Node stops to read.
  client.send(frame('b'));
  await expectSeesAnotherEnd(testServer);
  client.send(frame('c'));
  await expectSeesAnotherEnd(testServer);
  client.reset();
  await expectSeesAnotherEnd(testServer);
  return { testServer, signal: signals[0] as AbortSignal, answer: reply.resolve };
}

/**
 * Three connections: one with a request in its handler, one whose request fills the queue, one that
 * waits for room. The second is closed.
 */
async function closeQueued(transport: TransportName) {
  const reply = defer<Buffer>();
  const testServer = await startServer(transport, {
    queuedMaxRequests: 1,
    maxPendingRequests: 1,
    networkThreads: 1,
    handler: () => reply.promise,
  });
  /** Pending requests, queued requests, waiting connections. */
  const counts = (): string => {
    const { pendingRequests, requestQueueSize, connectionsWaitingForRoom } =
      testServer.server.metrics();
    return `${pendingRequests},${requestQueueSize},${connectionsWaitingForRoom}`;
  };
  for (const expected of ['1,0,0', '1,1,0', '1,1,1']) {
    const client = await testServer.connect();
    client.send(frame('hello'));
    await until(() => counts() === expected, expected);
  }
  testServer.opened.all[1]?.close();
  return { testServer, counts, answer: reply.resolve };
}

/** Connects and resets while this process stands still, so that nothing is accepted in between. */
function resetBeforeAccept(port: number): void {
  const script = `
    const socket = require('node:net').connect(${port}, '127.0.0.1', () => socket.resetAndDestroy());
  `;
  const { status } = spawnSync(process.execPath, ['-e', script], { timeout: 10_000 });
  expect(status).toBe(0);
}

/** What is counted when three frames in one write meet a queue of two behind a parked request. */
async function queueCustomFrames(transport: TransportName) {
  const testServer = await startServer(transport, {
    framing: custom((bytes) => (bytes.length === 0 ? null : { length: 1 })),
    queuedMaxRequests: 2,
    maxPendingRequests: 1,
    networkThreads: 1,
    handler: () => new Promise<Buffer>(() => undefined),
  });
  const { server } = testServer;
  const parking = await testServer.connect();
  parking.send(Buffer.from('a'));
  await until(() => server.metrics().pendingRequests === 1, 'the parked request');
  const client = await testServer.connect();
  client.send(Buffer.from('bcd'));
  await until(() => server.metrics().requestQueueSize > 0, 'queued requests');
  const { requestsTotal, requestQueueSize } = server.metrics();
  return { requestsTotal, requestQueueSize };
}
