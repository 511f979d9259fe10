import { SocketServer } from 'odradek';
import { describe, expect, it } from 'vitest';
import { frame, frames, numbered, pattern } from './support/bytes.js';
import { expectSeesAnotherEnd } from './support/handlers.js';
import { startServer } from './support/server.js';
import { defer, nextTurn, until } from './support/wait.js';

/** In what the js transport differs from the native one, since `node:net` can't do it. */
describe('the js transport', () => {
  it('notices a reset behind unread bytes only when it reads or writes again', async () => {
    const answer = defer<Buffer>();
    const signals: AbortSignal[] = [];
    const testServer = await startServer('js', {
      handler: ({ signal }) => {
        signals.push(signal);
        return answer.promise;
      },
    });
    const client = await testServer.connect();
    client.send(frame('a'));
    await until(() => signals.length === 1, 'the request');
    // The first of these is read although the handler works, and stays. At the second one Node
    // stops to read.
    client.send(frame('b'));
    await until(() => testServer.server.metrics().bytesReadTotal === 10, 'the bytes behind it');
    client.send(frame('c'));
    await expectSeesAnotherEnd(testServer);
    client.reset();
    await expectSeesAnotherEnd(testServer);
    for (let i = 0; i < 20; i++) await nextTurn();
    expect(signals[0]?.aborted).toBe(false);
    answer.resolve(pattern(100));
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
    const never = new Promise<Buffer>(() => undefined);
    const testServer = await startServer('js', {
      queuedMaxRequests: 1,
      maxPendingRequests: 1,
      handler: () => never,
    });
    const { server } = testServer;
    const counts = (): string => {
      const { pendingRequests, requestQueueSize, connectionsWaitingForRoom } = server.metrics();
      return `${pendingRequests},${requestQueueSize},${connectionsWaitingForRoom}`;
    };
    for (const expected of ['1,0,0', '1,1,0', '1,1,1']) {
      const client = await testServer.connect();
      client.send(frame('hello'));
      await until(() => counts() === expected, expected);
    }
    testServer.opened.all[1]?.close();
    await until(() => counts() === '1,1,0', 'the next in line');
    expect(server.metrics().requestsTotal).toBe(3);
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
