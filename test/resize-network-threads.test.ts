import { closeConnection, delimited, type Reply } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, pattern } from './support/bytes.js';
import type { Client } from './support/client.js';
import { Dice } from './support/dice.js';
import { connectMany, startPipelined } from './support/handlers.js';
import { expectMetrics, makeServer, startServer, type TestServer } from './support/server.js';
import { placements, transports } from './support/transports.js';
import { type Deferred, defer, Inbox, nextTurn } from './support/wait.js';

/** Down to one, up again, and anything between. */
async function resizeOften(testServer: TestServer, times: number, dice: Dice): Promise<void> {
  for (let i = 0; i < times; i++) {
    await testServer.server.resizeNetworkThreads(i % 3 === 0 ? 1 : 1 + dice.roll(4));
    await nextTurn();
  }
}

/** Sends frames of many sizes in pieces of many sizes and expects each back, until it is over. */
async function converse(client: Client, dice: Dice, isOver: () => boolean): Promise<number> {
  let rounds = 0;
  while (!isOver() || rounds === 0) {
    const payloads = Array.from({ length: 1 + dice.roll(20) }, () =>
      pattern(dice.roll(40) === 0 ? dice.roll(150_000) : dice.roll(200), dice.roll(1000)),
    );
    const sent = frames(payloads);
    await client.sendInPieces(sent, 1 + dice.roll(sent.length));
    expectBytes(await client.read(sent.length), sent);
    rounds++;
  }
  return rounds;
}

/** A server whose requests wait until the test answers them, each by its own body. */
async function startHolding(transport: 'js' | 'native') {
  const held: { body: Buffer; reply: Deferred<Reply> }[] = [];
  const came = new Inbox<string>('a request');
  const testServer = await startServer(transport, {
    networkThreads: 3,
    handler: ({ body }) => {
      const reply = defer<Reply>();
      held.push({ body, reply });
      came.push(body.toString());
      return reply.promise;
    },
  });
  const answerAll = (): void => {
    for (const { body, reply } of held.splice(0)) reply.resolve(body);
  };
  return { testServer, server: testServer.server, held, came, answerAll };
}

describe.each(transports)('resizeNetworkThreads, %s', (transport) => {
  it('loses nothing and keeps the order under load', { timeout: 60_000 }, async () => {
    const dice = new Dice(5);
    const testServer = await startServer(transport, {
      networkThreads: 3,
      // Some at once, some in a later turn.
      handler: ({ body }) => (body.length % 3 === 0 ? nextTurn().then(() => body) : body),
    });
    const clients = await connectMany(testServer, 8);
    let isOver = false;
    const conversations = clients.map((client, i) => converse(client, new Dice(i), () => isOver));
    await resizeOften(testServer, 60, dice);
    isOver = true;
    for (const rounds of await Promise.all(conversations)) expect(rounds).toBeGreaterThan(0);
    expect(testServer.closed.all).toHaveLength(0);
    await expectMetrics(testServer.server, { connections: 8, pendingRequests: 0 });
  });

  it('keeps the order of many in flight, answered in any order', async () => {
    const { testServer, client, calls } = await startPipelined(transport, 8, { networkThreads: 2 });
    const dice = new Dice(9);
    const texts = Array.from({ length: 200 }, (_, i) => `request ${i}`);
    client.send(frames(texts));
    const read = client.readTexts(texts.length);
    for (let answered = 0; answered < texts.length; ) {
      const waiting = [await calls.next()];
      await nextTurn();
      while (waiting.length + answered < calls.all.length) waiting.push(await calls.next());
      answered += waiting.length;
      await testServer.server.resizeNetworkThreads(1 + dice.roll(3));
      while (waiting.length > 0) waiting.splice(dice.roll(waiting.length), 1)[0]?.answer();
    }
    expect(await read).toEqual(texts);
  });

  it('answers requests that were received before, and cuts half a frame that was', async () => {
    const { testServer, server, came, answerAll } = await startHolding(transport);
    const clients = await connectMany(testServer, 6);
    const half = frame('half a frame');
    for (const client of clients) client.send(frame('parked'), half.subarray(0, 9));
    for (const _ of clients) expect(await came.next()).toBe('parked');
    for (const threads of [1, 4, 2, 1]) await server.resizeNetworkThreads(threads);
    answerAll();
    for (const client of clients) expect(await client.readText()).toBe('parked');
    for (const client of clients) client.send(half.subarray(9));
    for (const _ of clients) expect(await came.next()).toBe('half a frame');
    await server.resizeNetworkThreads(3);
    answerAll();
    for (const client of clients) expect(await client.readText()).toBe('half a frame');
  });

  it('keeps what a connection is to the service', async () => {
    const testServer = await startServer<number>(transport, {
      networkThreads: 3,
      handler: ({ connection }) => {
        connection.state = (connection.state ?? 0) + 1;
        return Buffer.from(`${connection.state} ${connection.id}`);
      },
    });
    const ids = new Set<string>();
    const clients: [Client, string][] = [];
    for (let round = 1; round < 6; round++) {
      const [client, connection] = await testServer.connectBoth();
      ids.add(connection.id);
      clients.push([client, connection.id]);
      await testServer.server.resizeNetworkThreads(1 + (round % 2) * 2);
      for (const [i, [each, id]] of clients.entries()) {
        each.send(frame('who'));
        expect(await each.readText()).toBe(`${round - i} ${id}`);
      }
    }
    expect(ids.size).toBe(5);
  });

  it('closes connections in order wherever they are', async () => {
    const { testServer, server, held, came } = await startHolding(transport);
    const [byReply] = await testServer.connectBoth();
    const [byService, connection] = await testServer.connectBoth();
    const [byClient] = await testServer.connectBoth();
    for (const client of [byReply, byService, byClient]) {
      client.send(frame('ask'));
      await came.next();
    }
    byClient.end();
    await server.resizeNetworkThreads(1);
    held[0]?.reply.resolve(closeConnection);
    connection.close('enough');
    held[2]?.reply.resolve(Buffer.from('answered'));
    expect(await byReply.readToEnd()).toHaveLength(0);
    expect(await byService.readToEnd()).toHaveLength(0);
    expect(await byClient.readText()).toBe('answered');
    await byClient.seeEnd();
    // Nobody waits for it, but for the end to be told.
    held[1]?.reply.resolve(Buffer.from('too late'));
    const codes = [];
    for (let i = 0; i < 3; i++) codes.push((await testServer.closed.next()).code);
    expect(codes.sort()).toEqual(['CLOSED_BY_HANDLER', 'CLOSED_BY_SERVICE', 'PEER_CLOSED']);
  });

  it('changes the framing of a connection that has moved', async () => {
    const asked = defer();
    const testServer = await startServer(transport, {
      networkThreads: 2,
      maxInFlightPerConnection: 4,
      handler: async ({ body, connection }) => {
        if (body.toString() !== 'lines') return body;
        await asked.promise;
        connection.setFraming(delimited('\n'));
        return body;
      },
    });
    const clients = await connectMany(testServer, 4);
    for (const client of clients) client.send(frame('lines'));
    await expectMetrics(testServer.server, { requestsInFlight: 4 });
    await testServer.server.resizeNetworkThreads(1);
    asked.resolve();
    for (const client of clients) expect(await client.readText()).toBe('lines');
    for (const client of clients) client.send(Buffer.from('a line\n'));
    await testServer.server.resizeNetworkThreads(2);
    for (const client of clients) expect((await client.read(7)).toString()).toBe('a line\n');
  });

  it('accepts connections on which onConnect decides meanwhile', async () => {
    const decided = defer();
    const testServer = await startServer(transport, {
      networkThreads: 3,
      onConnect: () => decided.promise.then(() => Buffer.from('welcome')),
    });
    const clients = await connectMany(testServer, 6);
    for (const client of clients) client.send(frame('eager'));
    for (const _ of clients) await testServer.opened.next();
    await testServer.server.resizeNetworkThreads(1);
    decided.resolve();
    for (const client of clients) expect(await client.readTexts(2)).toEqual(['welcome', 'eager']);
  });

  it('tells the fate of replies that others send', async () => {
    const outcomes = new Inbox<unknown>('a fate');
    const answer = defer();
    const testServer = await startServer(transport, {
      networkThreads: 2,
      handler: async (request) => {
        request.sent.then(outcomes.push);
        await answer.promise;
        return request.body;
      },
    });
    const clients = await connectMany(testServer, 4);
    for (const client of clients) client.send(frame('ask'));
    await expectMetrics(testServer.server, { requestsInFlight: 4 });
    await testServer.server.resizeNetworkThreads(1);
    answer.resolve();
    for (const client of clients) {
      expect(await client.readText()).toBe('ask');
      expect(await outcomes.next()).toEqual({ ok: true });
    }
  });

  it('makes one change after the other', async () => {
    const { server } = await startServer(transport, { networkThreads: 2 });
    const done: number[] = [];
    await Promise.all(
      [4, 1, 3, 1, 2].map((threads) =>
        server.resizeNetworkThreads(threads).then(() => done.push(threads)),
      ),
    );
    expect(done).toEqual([4, 1, 3, 1, 2]);
    expect(server.metrics().processors).toHaveLength(transport === 'native' ? 2 : 1);
  });

  it('is superseded by close()', async () => {
    const { testServer, server, came, answerAll } = await startHolding(transport);
    const clients = await connectMany(testServer, 6);
    for (const client of clients) client.send(frame('received'));
    for (const _ of clients) await came.next();
    const outcomes = Promise.allSettled([
      server.resizeNetworkThreads(1),
      server.resizeNetworkThreads(4),
    ]);
    await Promise.resolve();
    const closed = server.close();
    answerAll();
    for (const client of clients) {
      expect((await client.readToEnd()).toString()).toBe(frame('received').toString());
    }
    expect(await closed).toEqual({ completed: 6, cut: 0 });
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ reason: { code: 'ERR_ODRADEK_INVALID_STATE' } });
    }
  });

  it.each([0, 65, 1.5, -1, Number.NaN, '2', undefined, null])('refuses %s', async (threads) => {
    const { server } = await startServer(transport);
    await expect(server.resizeNetworkThreads(threads as number)).rejects.toMatchObject({
      code: 'ERR_ODRADEK_INVALID_ARGUMENT',
      message: expect.stringMatching(/threads must be an integer from 1 to 64, got /),
    });
  });

  it('is refused before the start, and after the end', async () => {
    const { server } = makeServer(transport);
    const code = 'ERR_ODRADEK_INVALID_STATE';
    await expect(server.resizeNetworkThreads(1)).rejects.toMatchObject({ code });
    await server.start();
    await server.resizeNetworkThreads(1);
    await server.close();
    await expect(server.resizeNetworkThreads(2)).rejects.toMatchObject({ code });
  });

  it('is refused where the processor has no thread', async () => {
    const { server } = await startServer(transport, { networkThreads: 0 });
    await expect(server.resizeNetworkThreads(1)).rejects.toMatchObject({
      code: 'ERR_ODRADEK_INVALID_STATE',
      message: expect.stringContaining('networkThreads: 0'),
    });
  });
});

describe.runIf(placements.includes('native'))('resizeNetworkThreads, native alone', () => {
  const connectionsOf = ({ server }: TestServer): Record<string, number> =>
    Object.fromEntries(server.metrics().processors.map(({ id, connections }) => [id, connections]));

  it('shares connections out among those that stay, and new ones among all', async () => {
    const testServer = await startServer('native', { networkThreads: 4 });
    const clients = await connectMany(testServer, 40);
    for (const _ of clients) await testServer.opened.next();
    await testServer.server.resizeNetworkThreads(2);
    for (const client of clients) client.send(frame('all'));
    for (const client of clients) expect(await client.readText()).toBe('all');
    expect(connectionsOf(testServer)).toEqual({ 0: 20, 1: 20 });
    await testServer.server.resizeNetworkThreads(3);
    expect(connectionsOf(testServer)).toEqual({ 0: 20, 1: 20, 2: 0 });
    await connectMany(testServer, 9);
    for (let i = 0; i < 9; i++) await testServer.opened.next();
    expect(connectionsOf(testServer)).toEqual({ 0: 23, 1: 23, 2: 3 });
  });

  it('counts on what those have done that left', async () => {
    const testServer = await startServer('native', { networkThreads: 2 });
    const clients = await connectMany(testServer, 4);
    for (const client of clients) client.send(frame('count'));
    for (const client of clients) await client.readText();
    await testServer.server.resizeNetworkThreads(1);
    await expectMetrics(testServer.server, { requestsTotal: 4, responsesTotal: 4 });
    for (const client of clients) client.end();
    await expectMetrics(testServer.server, { connections: 0, connectionsClosedTotal: 4 });
  });
});
