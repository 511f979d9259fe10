import { SocketServer } from 'odradek';
import { describe, expect, it, onTestFinished } from 'vitest';
import { expectBytes, frame, frames, numbered, pattern } from './support/bytes.js';
import { Client } from './support/client.js';
import { startWithheld } from './support/handlers.js';
import { expectMetrics, makeServer, startServer } from './support/server.js';
import { placed, placements } from './support/transports.js';
import { defer, Inbox, nextTurn, until, within } from './support/wait.js';

describe.each(placements)('server.close() (%s)', (transport) => {
  const withheld = () => startWithheld(transport);

  it('closes idle connections at once', async () => {
    const testServer = await startServer(transport);
    const clients = [await testServer.connect(), await testServer.connect()];
    clients[0]?.send(frame('hello'));
    await clients[0]?.readText();
    // A reply is read before it is counted.
    await until(() => testServer.server.metrics().responsesTotal === 1, 'the count');
    await testServer.opened.next();
    await testServer.opened.next();
    const summary = await within(testServer.server.close(), 'the end');
    expect(summary).toEqual({ completed: 0, cut: 0 });
    for (const client of clients) expect(await client.readToEnd()).toHaveLength(0);
    expect(testServer.closed.all).toEqual([
      { code: 'SERVER_CLOSED', message: 'the server closed', unanswered: 0 },
      { code: 'SERVER_CLOSED', message: 'the server closed', unanswered: 0 },
    ]);
  });

  it('answers what was received before it ends', async () => {
    const { testServer, server, requests, answer } = await withheld();
    const client = await testServer.connect();
    client.send(frames(['a', 'b', 'c']));
    await requests.next();
    await until(() => server.metrics().requestsTotal === 3, 'three requests');
    const closing = server.close();
    for (let i = 0; i < 10; i++) await nextTurn();
    expect(client.available).toBe(0);
    answer.resolve(Buffer.from('done'));
    expectBytes(await client.readToEnd(), frames(['done', 'done', 'done']));
    expect(await closing).toEqual({ completed: 3, cut: 0 });
    expect(testServer.closed.all).toMatchObject([{ code: 'SERVER_CLOSED', unanswered: 0 }]);
  });

  it('sends a large reply in full before it ends', async () => {
    const large = pattern(10_000_000);
    const { testServer, server, requests, answer } = await withheld();
    const client = await testServer.connect();
    client.send(frame('please'));
    await requests.next();
    const closing = server.close();
    answer.resolve(large);
    expectBytes(await client.readToEnd(), frame(large));
    expect(await closing).toEqual({ completed: 1, cut: 0 });
  });

  it('accepts nobody any more', async () => {
    const { testServer, server, requests, answer } = await withheld();
    const client = await testServer.connect();
    client.send(frame('hello'));
    await requests.next();
    const port = testServer.port();
    const closing = server.close();
    await expect(Client.connect(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    answer.resolve(Buffer.of(1));
    await closing;
    await expect(Client.connect(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('cuts off at the deadline what is not done, and says how much', async () => {
    const { testServer, server, requests } = await withheld();
    const clients = [await testServer.connect(), await testServer.connect()];
    clients[0]?.send(frames(['a', 'b', 'c']));
    clients[1]?.send(frame('d'));
    await requests.next();
    await requests.next();
    await until(() => server.metrics().requestsTotal === 4, 'four requests');
    const before = performance.now();
    const summary = await server.close({ timeoutMs: 100 });
    expect(performance.now() - before).toBeGreaterThanOrEqual(95);
    expect(summary).toEqual({ completed: 0, cut: 4 });
    const reasons = [await testServer.closed.next(), await testServer.closed.next()];
    expect(reasons.map(({ code }) => code)).toEqual(['DEADLINE', 'DEADLINE']);
    expect(reasons.map(({ unanswered }) => unanswered).sort()).toEqual([1, 3]);
    for (const client of clients) expect(client.available).toBe(0);
  });

  it('with timeoutMs 0 ends as soon as it can', async () => {
    const { testServer, server, requests } = await withheld();
    const client = await testServer.connect();
    client.send(frame('a'));
    await requests.next();
    expect(await server.close({ timeoutMs: 0 })).toEqual({ completed: 0, cut: 1 });
    expect(server.metrics().connections).toBe(0);
  });

  it('ignores the answers of handlers that it did not wait for', async () => {
    const { testServer, server, requests, answer } = await withheld();
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    await requests.next();
    await server.close({ timeoutMs: 0 });
    const metrics = server.metrics();
    answer.resolve(Buffer.from('too late'));
    for (let i = 0; i < 10; i++) await nextTurn();
    // What loops are idle goes on, rates go down, and a handler has answered.
    const idle = {
      requestTimes: { ...metrics.requestTimes, remote: expect.any(Object) },
      connectionAcceptRate: expect.any(Number),
      memoryPoolAvgDepletedPercent: expect.any(Number),
      networkProcessorAvgIdlePercent: expect.any(Number),
      requestHandlerAvgIdlePercent: expect.any(Number),
      handlerThreads: metrics.handlerThreads.map((thread) => ({
        ...thread,
        idleMs: expect.any(Number),
        idlePercent: expect.any(Number),
      })),
      listeners: metrics.listeners.map((listener) => ({
        ...listener,
        acceptorBlockedPercent: expect.any(Number),
        connectionAcceptRate: expect.any(Number),
      })),
      processors: metrics.processors.map((processor) => ({
        ...processor,
        idleMs: expect.any(Number),
        idlePercent: expect.any(Number),
      })),
    };
    expect(server.metrics()).toEqual({ ...metrics, ...idle, requestsInFlight: 0 });
    expect(requests.all).toHaveLength(1);
    expect(testServer.errors.all).toHaveLength(0);
  });

  it('is idempotent: every call gets the one outcome', async () => {
    const { testServer, server, requests, answer } = await withheld();
    const outcomes = new Inbox<unknown>('close');
    server.on('close', outcomes.push);
    const client = await testServer.connect();
    client.send(frame('a'));
    await requests.next();
    const first = server.close();
    const second = server.close({ timeoutMs: 1 });
    answer.resolve(Buffer.from('done'));
    expect(await first).toEqual({ completed: 1, cut: 0 });
    expect(await second).toBe(await first);
    expect(await server.close()).toBe(await first);
    expect(outcomes.all).toEqual([{ completed: 1, cut: 0 }]);
  });

  it('awaited inside a handler does not wait for that handler', async () => {
    const testServer = await startServer(transport, {
      handler: async ({ body }) => {
        if (body.toString() === 'shut down') await testServer.server.close();
        return body;
      },
    });
    const client = await testServer.connect();
    client.send(frame('hello'));
    expect(await client.readText()).toBe('hello');
    client.send(frame('shut down'));
    await client.seeEnd();
    const summary = await within(testServer.server.close(), 'the end', 2000);
    expect(summary.cut).toBe(1);
    await expectMetrics(testServer.server, { connections: 0, pendingRequests: 0 });
  });

  it('awaited inside a handler still waits for the others', async () => {
    const other = defer<Buffer>();
    const requests = new Inbox<string>('a request');
    const testServer = await startServer(transport, {
      handler: async ({ body }) => {
        requests.push(body.toString());
        if (body.toString() === 'slow') return other.promise;
        await testServer.server.close();
        return body;
      },
    });
    const [slow, killer] = [await testServer.connect(), await testServer.connect()];
    slow.send(frame('slow'));
    await requests.next();
    killer.send(frame('shut down'));
    await requests.next();
    for (let i = 0; i < 10; i++) await nextTurn();
    expect(testServer.closed.all).toHaveLength(0);
    other.resolve(Buffer.from('done'));
    expectBytes(await slow.readToEnd(), frame('done'));
    await killer.seeEnd();
    await within(testServer.server.close(), 'the end', 2000);
  });

  it('may be called in the synchronous part of a handler that replies', async () => {
    const testServer = await startServer(transport, {
      handler: ({ body }) => {
        void testServer.server.close();
        return body;
      },
    });
    const client = await testServer.connect();
    client.send(frame('hello'));
    await client.seeEnd();
    await within(testServer.server.close(), 'the end', 2000);
    await expectMetrics(testServer.server, { connections: 0, pendingRequests: 0 });
  });

  it.each<[string, number, (bytes: Buffer) => Buffer | Promise<Buffer>]>([
    ['a handler', 0, (bytes) => bytes],
    ['a handler, beside other connections', 3, (bytes) => bytes],
    ['an asynchronous handler', 0, async (bytes) => bytes],
    ['an asynchronous handler, beside other connections', 3, async (bytes) => bytes],
  ])('called in %s, it cuts off no reply of that turn', async (_name, others, give) => {
    const testServer = await startServer(transport, {
      handler: ({ body }) => {
        if (body.toString() === 'last') void testServer.server.close();
        return give(body);
      },
    });
    // Those that nobody has taken up are closed unseen.
    for (let i = 0; i < others; i++) await testServer.connectBoth();
    const client = await testServer.connect();
    client.send(frames(['a', 'b', 'last']));
    expectBytes(await client.readToEnd(), frames(['a', 'b', 'last']));
    expect((await within(testServer.server.close(), 'the end', 2000)).cut).toBe(0);
    const reasons = testServer.closed.all.map(({ code }) => code);
    expect(reasons).toEqual(Array(1 + others).fill('SERVER_CLOSED'));
  });

  it('lets out a greeting that was given before', async () => {
    const testServer = await startServer(transport, {
      onConnect: () => {
        // When the greeting has been given, and before it was written.
        queueMicrotask(() => void testServer.server.close());
        return Buffer.from('hello');
      },
    });
    const client = await testServer.connect();
    expectBytes(await client.readToEnd(), frame('hello'));
  });

  it('sends the last reply whole though there is input that nobody reads', async () => {
    const { testServer, server, requests, answer } = await withheld();
    const client = await testServer.connect();
    // Most of a frame, of which a muted connection reads little.
    client.send(frame('please'), frame(pattern(600_000)).subarray(0, 500_000));
    await requests.next();
    const closing = server.close();
    const large = pattern(3_000_000);
    answer.resolve(large);
    expectBytes(await client.readToEnd(), frame(large));
    expect(await closing).toEqual({ completed: 1, cut: 0 });
  });

  it('supersedes a start under way', async () => {
    const { server, opened } = makeServer(transport, {
      listeners: [
        { name: 'A', port: 0 },
        { name: 'B', port: 0, host: 'localhost' },
      ],
    });
    const starting = server.start();
    const closing = server.close();
    await expect(starting).rejects.toMatchObject({ code: 'ERR_ODRADEK_INVALID_STATE' });
    expect(await within(closing, 'the end', 2000)).toEqual({ completed: 0, cut: 0 });
    expect(() => server.address('A')).toThrow(
      expect.objectContaining({ code: 'ERR_ODRADEK_INVALID_STATE' }),
    );
    expect(opened.all).toHaveLength(0);
  });

  it('leaves no listener open that a superseded start would have opened', async () => {
    const first = await startServer(transport);
    const port = first.port();
    await first.server.close();
    const { server } = makeServer(transport, { listeners: [{ port }] });
    const starting = server.start();
    await Promise.all([server.close(), starting.catch(() => undefined)]);
    for (let i = 0; i < 20; i++) await nextTurn();
    await expect(Client.connect(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    // And the port is free for another server.
    const second = await startServer(transport, { listeners: [{ port }] });
    expect(second.port()).toBe(port);
  });

  it('supersedes a start at whatever moment it comes', async () => {
    const first = await startServer(transport);
    const port = first.port();
    await first.server.close();
    for (let microtasks = 0; microtasks < 15; microtasks++) {
      const { server } = makeServer(transport, { listeners: [{ port }] });
      const starting = server.start().catch(() => undefined);
      for (let i = 0; i < microtasks; i++) await Promise.resolve();
      if (microtasks % 5 === 4) await new Promise((resolve) => process.nextTick(resolve));
      await Promise.all([server.close(), starting]);
      await nextTurn();
      await expect(Client.connect(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    }
  });

  it('before any start makes a start impossible', async () => {
    const { server } = makeServer(transport);
    expect(await server.close()).toEqual({ completed: 0, cut: 0 });
    await expect(server.start()).rejects.toMatchObject({ code: 'ERR_ODRADEK_INVALID_STATE' });
  });

  it('refuses wrong options', async () => {
    const { server } = await startServer(transport);
    const call = (options: object) => () => server.close(options);
    const invalid = expect.objectContaining({ code: 'ERR_ODRADEK_INVALID_OPTION' });
    expect(call({ timeoutMs: -1 })).toThrow(invalid);
    expect(call({ timeoutMs: '5' })).toThrow(invalid);
    expect(call({ timeout: 5 })).toThrow(invalid);
    expect(server.address().port).toBeGreaterThan(0);
  });

  it('is what `await using` calls', async () => {
    const server = new SocketServer({
      listeners: [{ port: 0 }],
      handler: ({ body }) => body,
      ...placed(transport),
    });
    onTestFinished(async () => {
      await server.close();
    });
    await server.start();
    const { port } = server.address();
    expect(await server[Symbol.asyncDispose]()).toBeUndefined();
    await expect(Client.connect(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('cuts off handlers of clients that are gone, whose reason stays', async () => {
    const { testServer, server, requests } = await withheld();
    const client = await testServer.connect();
    client.send(frame('hello'));
    const { signal } = await requests.next();
    client.reset();
    await until(() => signal.aborted, 'the abort');
    expect(await server.close({ timeoutMs: 20 })).toEqual({ completed: 0, cut: 1 });
    expect(testServer.closed.all).toMatchObject([
      { code: 'PEER_RESET', errno: 'ECONNRESET', unanswered: 1 },
    ]);
  });

  it('ends clients that keep their side open', async () => {
    const testServer = await startServer(transport);
    const [client] = await testServer.connectBoth({ staysOpen: true });
    const summary = await within(testServer.server.close({ timeoutMs: 10_000 }), 'the end', 5000);
    expect(summary).toEqual({ completed: 0, cut: 0 });
    await client.seeEnd();
  });

  it('ends a connection on which requests keep coming', async () => {
    const testServer = await startServer(transport, {
      handler: async ({ body }) => {
        await nextTurn();
        return body;
      },
    });
    const client = await testServer.connect();
    const stop = client.pour(frames(numbered(100)));
    await client.read(4000);
    // Not by the deadline, which would cut something.
    const summary = await testServer.server.close({ timeoutMs: 25_000 });
    stop();
    expect(summary.cut).toBe(0);
    expect(testServer.closed.all).toMatchObject([{ code: 'SERVER_CLOSED', unanswered: 0 }]);
  });
});
