import type { Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, numbered, pattern } from './support/bytes.js';
import { expectMetrics, startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { defer, Inbox, nextTurn } from './support/wait.js';

describe.each(placements)('half-close (%s)', (transport) => {
  it('answers what came before the FIN', async () => {
    const testServer = await startServer(transport);
    const client = await testServer.connect();
    client.send(frames(['a', 'b', 'c']));
    client.end();
    expectBytes(await client.readToEnd(), frames(['a', 'b', 'c']));
    expect(await testServer.closed.next()).toEqual({
      code: 'PEER_CLOSED',
      message: 'the client closed the connection',
      unanswered: 0,
    });
  });

  it('answers thousands of requests that came before the FIN, in their order', async () => {
    const testServer = await startServer(transport, {
      handler: (request) =>
        request.body.readUInt32BE() % 2 === 0 ? request.body : nextTurn().then(() => request.body),
    });
    const client = await testServer.connect();
    const sent = frames(numbered(3000));
    client.send(sent);
    client.end();
    expectBytes(await client.readToEnd(), sent);
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
  });

  it('answers a request whose handler still works when the FIN comes', async () => {
    const requests = new Inbox<Request>('a request');
    const reply = defer<Buffer>();
    const testServer = await startServer(transport, {
      handler: (request) => {
        requests.push(request);
        return reply.promise;
      },
    });
    const client = await testServer.connect();
    client.send(frame('hello'));
    const request = await requests.next();
    const { signal } = request;
    client.end();
    // By the time that another connection was served, the FIN has been seen as well.
    const other = await testServer.connect();
    other.end();
    await testServer.closed.next();
    expect(signal.aborted).toBe(false);
    expect(testServer.closed.all).toHaveLength(1);
    reply.resolve(Buffer.from('late'));
    expectBytes(await client.readToEnd(), frame('late'));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
    expect(signal.aborted).toBe(false);
  });

  it('sends a reply of many segments after the FIN', async () => {
    const large = pattern(10_000_000);
    const testServer = await startServer(transport, { handler: () => large });
    const client = await testServer.connect();
    client.send(frame('please'));
    client.end();
    expectBytes(await client.readToEnd(), frame(large));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
  });

  it('closes a connection that never asked for anything', async () => {
    const testServer = await startServer(transport);
    const client = await testServer.connect();
    client.end();
    expect(await client.readToEnd()).toHaveLength(0);
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
    await expectMetrics(testServer.server, {
      connectionsAcceptedTotal: 1,
      connectionsClosedTotal: 1,
      connections: 0,
    });
  });

  it('answers client after client that half-closes', async () => {
    const testServer = await startServer(transport, {
      handler: async ({ body }) => {
        await nextTurn();
        return body;
      },
    });
    for (let i = 0; i < 20; i++) {
      const client = await testServer.connect();
      client.send(frames(numbered(10)));
      client.end();
      expect(await client.readToEnd()).toHaveLength(80);
    }
    for (let i = 0; i < 20; i++) await testServer.closed.next();
    await expectMetrics(testServer.server, { requestsTotal: 200, responsesTotal: 200 });
  });
});
