import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { noReply, type SocketServer } from 'odradek';
import { describe, expect, it, onTestFinished } from 'vitest';
import { bytes, frame, frames, numbered } from './support/bytes.js';
import { expectMetrics, expectNothingLeft, makeServer, startServer } from './support/server.js';
import { kindOf, placements } from './support/transports.js';
import { defer, Inbox, nextTurn, until } from './support/wait.js';

describe.each(placements)('events (%s)', (transport) => {
  it('tell the life of a connection', async () => {
    const testServer = await startServer(transport);
    const { server } = testServer;
    const story: unknown[][] = [];
    server.on('connectionOpened', (...values) => story.push(['opened', ...values]));
    server.on('connectionClosed', (...values) => story.push(['closed', ...values]));
    server.on('close', (...values) => story.push(['close', ...values]));
    const client = await testServer.connect();
    client.send(frame('hello'));
    await client.readText();
    client.end();
    await testServer.closed.next();
    await server.close();
    const [connection] = testServer.opened.all;
    expect(story).toEqual([
      ['opened', connection],
      [
        'closed',
        connection,
        { code: 'PEER_CLOSED', message: 'the client closed the connection', unanswered: 0 },
      ],
      ['close', { completed: 0, cut: 0 }],
    ]);
  });

  it('never include an error for what happens to one connection', async () => {
    const testServer = await startServer(transport, {
      handler: ({ body }) => {
        if (body.toString() === 'throw') throw new Error('boom');
        return body;
      },
    });
    const errors = new Inbox<unknown>('error');
    (testServer.server as SocketServer & NodeJS.EventEmitter).on('error', errors.push);
    for (const sent of [bytes('ffffffff'), frame('throw'), bytes('00')]) {
      const client = await testServer.connect();
      client.send(sent);
      client.end();
      await testServer.closed.next();
    }
    const resetting = await testServer.connect();
    resetting.send(frame('hello'));
    await resetting.readText();
    resetting.reset();
    await testServer.closed.next();
    expect(errors.all).toEqual([]);
  });

  it('are published to diagnostics_channel, with the server', async () => {
    const messages: [string, Record<string, unknown>][] = [];
    const names = ['connection.opened', 'connection.closed', 'handler.error', 'accept.error'];
    const { server, ...testServer } = await withSubscribers();
    const client = await testServer.connect();
    client.send(frames(['fine', 'throw']));
    await client.readToEnd();
    await until(() => messages.length === 3, 'three messages');
    const connection = testServer.opened.all[0];
    expect(messages.map(([name]) => name)).toEqual([
      'odradek.connection.opened',
      'odradek.handler.error',
      'odradek.connection.closed',
    ]);
    expect(messages[0]?.[1]).toEqual({ server, connection });
    expect(messages[1]?.[1]).toEqual({
      server,
      request: testServer.errors.all[0]?.request,
      error: expect.objectContaining({ message: 'boom' }),
    });
    expect(messages[2]?.[1]).toEqual({
      server,
      connection,
      reason: { code: 'HANDLER_ERROR', message: 'the handler failed', unanswered: 1 },
    });

    async function withSubscribers() {
      for (const name of names) {
        const listener = (message: unknown, channel: string | symbol): void => {
          messages.push([String(channel), message as Record<string, unknown>]);
        };
        subscribe(`odradek.${name}`, listener);
        onTestFinished(() => void unsubscribe(`odradek.${name}`, listener));
      }
      const started = await startServer(transport, {
        handler: ({ body }) => {
          if (body.toString() === 'throw') throw new Error('boom');
          return body;
        },
      });
      const { server, opened, errors } = started;
      return { server, opened, errors, connect: started.connect.bind(started) };
    }
  });

  it('warn once where a handler fails and nobody listens', async () => {
    const warnings: Error[] = [];
    const listener = (warning: Error): void => {
      if (warning.name === 'OdradekWarning') warnings.push(warning);
    };
    process.on('warning', listener);
    onTestFinished(() => void process.off('warning', listener));
    const testServer = await startServer(transport, {
      handler: () => {
        throw new Error('boom');
      },
    });
    testServer.server.removeAllListeners('handlerError');
    for (let i = 0; i < 3; i++) {
      const client = await testServer.connect();
      client.send(frame('hello'));
      await client.readToEnd();
      await testServer.closed.next();
    }
    for (let i = 0; i < 3; i++) await nextTurn();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatchObject({ code: 'ODRADEK_HANDLER_ERROR' });
    expect(warnings[0]?.message).toMatch(/boom/);
  });
});

describe.each(placements)('metrics (%s)', (transport) => {
  it('count what happened', async () => {
    const testServer = await startServer(transport, {
      networkThreads: 1,
      handler: ({ body }) => {
        if (body.toString() === 'throw') throw new Error('boom');
        return body.length === 0 ? noReply : body;
      },
      onHandlerError: () => Buffer.from('sorry'),
    });
    const { server } = testServer;
    const clients = [await testServer.connect(), await testServer.connect()];
    clients[0]?.send(frames(['hello', '', 'throw', 'x']));
    expect(await clients[0]?.readTexts(3)).toEqual(['hello', 'sorry', 'x']);
    await testServer.opened.next();
    await testServer.opened.next();
    await expectMetrics(server, {
      transport: kindOf(transport),
      connections: 2,
      connectionsAcceptedTotal: 2,
      connectionsClosedTotal: 0,
      acceptErrorsTotal: 0,
      requestsTotal: 4,
      responsesTotal: 4,
      bytesReadTotal: 4 * 4 + 11,
      bytesWrittenTotal: 3 * 4 + 11,
      requestQueueSize: 0,
      pendingRequests: 0,
      connectionsWaitingForRoom: 0,
      connectionsWaitingForMemory: 0,
      memoryPoolAvailable: 134_217_728,
      memoryPoolUsed: 0,
      memoryPoolDepletedMs: 0,
      requestsInFlight: 0,
      handlerErrorsTotal: 1,
      processors: [
        {
          id: 0,
          connections: 2,
          turns: expect.any(Number),
          readCalls: expect.any(Number),
          writeCalls: expect.any(Number),
          pollCalls: expect.any(Number),
          wakeCalls: expect.any(Number),
          idleMs: expect.any(Number),
          idlePercent: expect.any(Number),
        },
      ],
    });
    const [processor] = server.metrics().processors;
    expect(processor?.turns).toBeGreaterThan(0);
    expect(processor?.readCalls).toBeGreaterThan(0);
    expect(processor?.writeCalls).toBeGreaterThan(0);
    for (const client of clients) client.end();
    for (let i = 0; i < clients.length; i++) await testServer.closed.next();
    await expectMetrics(server, { connections: 0, connectionsClosedTotal: 2 });
  });

  it('show what is at work', async () => {
    const answer = defer<Buffer>();
    const testServer = await startServer(transport, { handler: () => answer.promise });
    const { server } = testServer;
    const clients = [await testServer.connect(), await testServer.connect()];
    for (const client of clients) client.send(frames(['a', 'b', 'c']));
    await until(() => server.metrics().requestsTotal === 6, 'six requests');
    await until(() => server.metrics().requestsInFlight === 2, 'two of them with handlers');
    await expectMetrics(server, {
      responsesTotal: 0,
      pendingRequests: 2,
      requestQueueSize: 0,
    });
    answer.resolve(Buffer.from('done'));
    for (const client of clients)
      expect(await client.readTexts(3)).toEqual(['done', 'done', 'done']);
    await until(() => server.metrics().responsesTotal === 6, 'the last reply');
    await expectMetrics(server, { pendingRequests: 0, requestsInFlight: 0 });
  });

  it('return to zero, whatever the connections went through', async () => {
    const never = new Promise<Buffer>(() => undefined);
    const testServer = await startServer(transport, {
      queuedMaxRequests: 10,
      maxPendingRequests: 10,
      handler: ({ body }) => {
        const number = body.readUInt32BE();
        if (number % 7 === 6) return never;
        return number % 2 === 0 ? body : nextTurn().then(() => body);
      },
    });
    const { server } = testServer;
    for (let i = 0; i < 60; i++) {
      const client = await testServer.connect();
      client.send(frames(numbered(1 + (i % 9))));
      if (i % 3 === 0) client.end();
      if (i % 3 === 1) client.reset();
    }
    await until(() => server.metrics().pendingRequests === 10, 'pending requests');
    const { cut } = await server.close({ timeoutMs: 30 });
    expect(cut).toBeGreaterThan(0);
    expectNothingLeft(server);
    const { requestsTotal, responsesTotal } = server.metrics();
    // A socket that was accepted in the last moment may have been closed before anybody saw it.
    expect(testServer.closed.all).toHaveLength(testServer.opened.all.length);
    const unanswered = testServer.closed.all.reduce((sum, reason) => sum + reason.unanswered, 0);
    // No request is lost: each was answered, or is counted in some connection's reason.
    expect(responsesTotal + unanswered).toBe(requestsTotal);
  });

  it('are all zero before the start', () => {
    const { server } = makeServer(transport);
    expect(server.metrics()).toMatchObject({
      transport: kindOf(transport),
      connections: 0,
      connectionsAcceptedTotal: 0,
      requestsTotal: 0,
      bytesReadTotal: 0,
      requestsInFlight: 0,
    });
  });
});
