import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { delimited, type SocketServer } from 'odradek';
import { describe, expect, it, onTestFinished } from 'vitest';
import { frame, frames } from './support/bytes.js';
import { Client } from './support/client.js';
import { Dice } from './support/dice.js';
import { startWithheld } from './support/handlers.js';
import { expectMetrics, makeServer, startServer } from './support/server.js';
import { isPooled, type Placement, placements } from './support/transports.js';
import { nextTurn, settles, until, within } from './support/wait.js';

/** What becomes of a connection to a port where nobody should listen. */
function knock(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  const answer = new Promise<string>((resolve) => {
    socket.on('connect', () => resolve('accepted'));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'failed'));
  });
  return within(answer, 'the answer to a knock').finally(() => socket.destroy());
}

async function connectTo(port: number, options = {}): Promise<Client> {
  const client = await Client.connect(port, options);
  onTestFinished(() => void client.socket.destroy());
  return client;
}

async function expectEcho(client: Client, text: string): Promise<void> {
  client.send(frame(text));
  expect(await client.readText()).toBe(text);
}

const names = (server: Pick<SocketServer, 'metrics'>): string[] =>
  server.metrics().listeners.map(({ name }) => name);

describe.each(placements)('addListener() (%s)', (transport) => {
  it('serves beside the others, at once', async () => {
    const { server, port } = await startBoth(transport);
    const address = await server.addListener({ name: 'SECOND', port: 0 });
    expect(address).toEqual(server.address('SECOND'));
    expect(address).toMatchObject({ host: '127.0.0.1' });
    expect(names(server)).toEqual(['PLAINTEXT', 'SECOND']);
    expect(() => server.address()).toThrow(/PLAINTEXT, SECOND/);
    await expectEcho(await connectTo(address.port), 'new');
    await expectEcho(await connectTo(port), 'old');
    await expectMetrics(server, { connectionsAcceptedTotal: 2, connections: 2 });
    const counts = server.metrics().listeners.map((each) => each.connectionsAcceptedTotal);
    expect(counts).toEqual([1, 1]);
  });

  it('has its own framing, and tells handlers its name', async () => {
    const { server } = await startServer(transport, {
      handler: ({ body, connection }) => Buffer.concat([Buffer.from(connection.listener), body]),
    });
    // As many as there are handler threads, and more.
    for (let i = 0; i < 6; i++) {
      const { port } = await server.addListener({
        name: `LINES-${i}-`,
        port: 0,
        framing: delimited(`${i}\n`),
      });
      const clients = await Promise.all([connectTo(port), connectTo(port), connectTo(port)]);
      for (const client of clients) client.send(Buffer.from(`one${i}\ntwo${i}\n`));
      for (const client of clients) {
        const expected = `LINES-${i}-one${i}\nLINES-${i}-two${i}\n`;
        expect((await client.read(expected.length)).toString()).toBe(expected);
      }
    }
  });

  it('refuses wrong options as the constructor does', async () => {
    const { server } = await startServer(transport);
    const wrong: [object | string, RegExp][] = [
      [{ port: -1, name: 'A' }, /listener\.port must be an integer from 0 to 65535, got -1/],
      [{ port: 0, name: '' }, /listener\.name/],
      [{ port: 0, name: 'A', host: '?' }, /listener\.host/],
      [{ port: 0, name: 'A', bogus: 1 }, /has no option "bogus"/],
      [{ port: 0 }, /two listeners have the name "PLAINTEXT"/],
      [{ port: 0, name: 'A', maxConnections: 0 }, /maxConnections of listener "A"/],
      ['nothing of the kind', /the options of listener must be an object/],
    ];
    for (const [options, message] of wrong) {
      await expect(server.addListener(options as never)).rejects.toMatchObject({
        code: 'ERR_ODRADEK_INVALID_OPTION',
        message: expect.stringMatching(message),
      });
    }
    expect(names(server)).toEqual(['PLAINTEXT']);
    // No name was taken.
    await server.addListener({ port: 0, name: 'A' });
  });

  it('takes a name once, also while it is being opened', async () => {
    const { server } = await startServer(transport);
    const [first, second] = await Promise.allSettled([
      server.addListener({ name: 'TWICE', port: 0, host: 'localhost' }),
      server.addListener({ name: 'TWICE', port: 0, host: 'localhost' }),
    ]);
    expect(first.status).toBe('fulfilled');
    expect(second).toMatchObject({ reason: { code: 'ERR_ODRADEK_INVALID_OPTION' } });
  });

  it('undoes everything where the port is taken', async () => {
    const { server, port } = await startBoth(transport);
    for (let i = 0; i < 3; i++) {
      await expect(server.addListener({ name: 'SECOND', port })).rejects.toMatchObject({
        code: 'ERR_ODRADEK_LISTEN',
        cause: { code: 'EADDRINUSE' },
      });
    }
    expect(names(server)).toEqual(['PLAINTEXT']);
    expect(() => server.address('SECOND')).toThrow(/must be one of PLAINTEXT/);
    expect(server.address().port).toBe(port);
    const address = await server.addListener({ name: 'SECOND', port: 0, framing: delimited('\n') });
    const client = await connectTo(address.port);
    client.send(Buffer.from('line\n'));
    expect((await client.read(5)).toString()).toBe('line\n');
  });

  it('needs a server that runs', async () => {
    const { server } = makeServer(transport);
    const refused = { code: 'ERR_ODRADEK_INVALID_STATE' };
    await expect(server.addListener({ name: 'A', port: 0 })).rejects.toMatchObject(refused);
    await server.start();
    await server.close();
    await expect(server.addListener({ name: 'A', port: 0 })).rejects.toMatchObject(refused);
  });

  it.each(['localhost', '127.0.0.1'])(
    'leaves nothing bound where the server closes meanwhile, %s',
    async (host) => {
      const { server } = await startServer(transport);
      const { port } = await server.addListener({ name: 'FIRST', port: 0 });
      await server.removeListener('FIRST');
      const adding = server.addListener({ name: 'LATE', port, host });
      const closing = server.close();
      await expect(adding).rejects.toMatchObject({ code: 'ERR_ODRADEK_INVALID_STATE' });
      await closing;
      expect(await knock(port)).toBe('ECONNREFUSED');
    },
  );

  it('keeps to limits of its own, which can be changed', async () => {
    const { server } = await startServer(transport);
    const { port } = await server.addListener({ name: 'SMALL', port: 0, maxConnections: 1 });
    const first = await connectTo(port);
    await expectEcho(first, 'first');
    const second = await connectTo(port);
    second.send(frame('second'));
    await until(() => (server.metrics().listeners[1]?.acceptorBlockedPercent ?? 0) > 0, 'a wait');
    server.updateLimits({ listeners: { SMALL: { maxConnections: 2 } } });
    expect(await second.readText()).toBe('second');
  });

  it('can be the protected one', async () => {
    const { server, port } = await startBoth(transport, { maxConnections: 1 });
    const ordinary = await connectTo(port);
    await expectEcho(ordinary, 'ordinary');
    const admin = await server.addListener({ name: 'ADMIN', port: 0 });
    server.updateLimits({ protectedListener: 'ADMIN' });
    await expectEcho(await connectTo(admin.port), 'admin');
    await ordinary.seeEnd();
    // It stays protected by its name.
    await server.removeListener('ADMIN', { drainMs: 0 });
    server.updateLimits({ maxConnectionsPerIp: 100 });
    await expectEcho(await connectTo(port), 'ordinary again');
    const again = await server.addListener({ name: 'ADMIN', port: 0 });
    await expectEcho(await connectTo(again.port), 'admin again');
    expect(() => server.updateLimits({ protectedListener: 'NOBODY' })).toThrow(/"ADMIN"/);
  });
});

describe.each(placements)('removeListener() (%s)', (transport) => {
  it('accepts nobody there, ends its connections, and touches no others', async () => {
    const testServer = await startServer(transport, { listeners: two });
    const { server } = testServer;
    const port = testServer.port('GONE');
    const kept = await testServer.connect({ listener: 'KEPT' });
    const idle = await testServer.connect({ listener: 'GONE' });
    await expectEcho(kept, 'kept');
    await expectEcho(idle, 'idle');
    await until(() => server.metrics().responsesTotal === 2, 'the counts');
    const summary = await within(server.removeListener('GONE'), 'the removal');
    expect(summary).toEqual({ completed: 0, cut: 0 });
    expect(await idle.readToEnd()).toHaveLength(0);
    expect(testServer.closed.all).toEqual([
      { code: 'LISTENER_REMOVED', message: 'the listener was removed', unanswered: 0 },
    ]);
    expect(await knock(port)).toBe('ECONNREFUSED');
    expect(names(server)).toEqual(['KEPT']);
    expect(() => server.address('GONE')).toThrow(/must be one of KEPT, got "GONE"/);
    await expectEcho(kept, 'kept on');
    expect(server.draining.aborted).toBe(false);
    await expectMetrics(server, { connections: 1, connectionsAcceptedTotal: 2 });
  });

  it('answers what was received before', async () => {
    const { testServer, server, requests, answer } = await startWithheld(transport);
    const client = await testServer.connect();
    client.send(frames(['a', 'b', 'c']));
    await requests.next();
    await until(() => server.metrics().requestsTotal === 3, 'three requests');
    const removing = server.removeListener('PLAINTEXT');
    for (let i = 0; i < 10; i++) await nextTurn();
    // It is read no more.
    client.send(frame('too late'));
    answer.resolve(Buffer.from('done'));
    expect((await client.readToEnd()).equals(frames(['done', 'done', 'done']))).toBe(true);
    expect(await removing).toEqual({ completed: 3, cut: 0 });
    expect(testServer.closed.all).toMatchObject([{ code: 'LISTENER_REMOVED', unanswered: 0 }]);
    await expectMetrics(server, { requestsTotal: 3, pendingRequests: 0 });
  });

  it('cuts what is left at the deadline, and the server goes on', async () => {
    const { testServer, server, requests, answer } = await startWithheld(transport);
    const kept = await server.addListener({ name: 'KEPT', port: 0 });
    const clients = [await testServer.connect(), await testServer.connect()];
    for (const client of clients) client.send(frames(['a', 'b', 'c']));
    await requests.next();
    await requests.next();
    await until(() => server.metrics().requestsTotal === 6, 'six requests');
    const summary = await within(
      server.removeListener('PLAINTEXT', { drainMs: 20 }),
      'the removal',
    );
    expect(summary).toEqual({ completed: 0, cut: 6 });
    expect(testServer.closed.all).toMatchObject([
      { code: 'DEADLINE', unanswered: 3 },
      { code: 'DEADLINE', unanswered: 3 },
    ]);
    for (const client of clients) await client.seeEnd();
    // Late answers reach nobody, and nothing stays counted.
    answer.resolve(Buffer.from('done'));
    const other = await connectTo(kept.port);
    other.send(frame('hello'));
    expect(await other.readText()).toBe('done');
    await expectMetrics(server, {
      connections: 1,
      pendingRequests: 0,
      requestQueueSize: 0,
      requestsInFlight: 0,
    });
  });

  it('frees the name and the port for another one', async () => {
    const testServer = await startServer(transport);
    const { server } = testServer;
    for (let i = 0; i < 5; i++) {
      const { port } = server.address('PLAINTEXT');
      await expectEcho(await connectTo(port), `round ${i}`);
      await server.removeListener('PLAINTEXT', { drainMs: 0 });
      expect(names(server)).toEqual([]);
      await server.addListener({ port });
      expect(server.address()).toEqual({ host: '127.0.0.1', port });
    }
    await expectEcho(await connectTo(server.address().port), 'the last');
    await expectMetrics(server, { connections: 1, connectionsAcceptedTotal: 6 });
  });

  it('refuses what it can’t do', async () => {
    const { server } = await startServer(transport, { listeners: two });
    await expect(server.removeListener('NOBODY')).rejects.toMatchObject({
      code: 'ERR_ODRADEK_INVALID_ARGUMENT',
      message: expect.stringMatching(/listener must be one of KEPT, GONE, got "NOBODY"/),
    });
    await expect(server.removeListener('GONE', { drainMs: -1 })).rejects.toMatchObject({
      code: 'ERR_ODRADEK_INVALID_OPTION',
    });
    await expect(server.removeListener('GONE', { ms: 1 } as never)).rejects.toMatchObject({
      code: 'ERR_ODRADEK_INVALID_OPTION',
    });
    const outcomes = await Promise.allSettled([
      server.removeListener('GONE'),
      server.removeListener('GONE'),
      server.addListener({ name: 'GONE', port: 0 }),
    ]);
    expect(outcomes).toMatchObject([
      { value: { completed: 0, cut: 0 } },
      { reason: { code: 'ERR_ODRADEK_INVALID_ARGUMENT' } },
      { reason: { code: 'ERR_ODRADEK_INVALID_OPTION' } },
    ]);
    await server.close();
    await expect(server.removeListener('KEPT')).rejects.toMatchObject({
      code: 'ERR_ODRADEK_INVALID_STATE',
    });
  });

  it('closes sockets that wait for a place, and such as are held back', async () => {
    const { server } = await startServer(transport, { maxConnectionCreationRatePerIp: 2 });
    const { port } = await server.addListener({ name: 'FULL', port: 0, maxConnections: 1 });
    const first = await connectTo(port, { from: '127.0.0.2' });
    await expectEcho(first, 'first');
    const waiting = await connectTo(port, { from: '127.0.0.3' });
    await until(() => (server.metrics().listeners[1]?.acceptorBlockedPercent ?? 0) > 0, 'a wait');
    server.updateLimits({ listeners: { FULL: { maxConnections: 2 } } });
    await expectEcho(waiting, 'let in');
    server.updateLimits({ listeners: { FULL: { maxConnections: 100 } } });
    const others = await Promise.all(
      Array.from({ length: 6 }, () => connectTo(port, { from: '127.0.0.4' })),
    );
    await until(() => (server.metrics().listeners[1]?.throttledSockets ?? 0) > 0, 'a held socket');
    server.updateLimits({ listeners: { FULL: { maxConnections: 1 } } });
    const late = await connectTo(port, { from: '127.0.0.5' });
    const removing = server.removeListener('FULL');
    for (const client of [first, waiting, ...others, late]) await client.seeEnd();
    await removing;
    await expectMetrics(server, { connections: 0 });
  });

  it('may leave no listener at all', async () => {
    const testServer = await startServer(transport);
    await testServer.server.removeListener('PLAINTEXT');
    expect(() => testServer.server.address()).toThrow(/there is no listener/);
    const { port } = await testServer.server.addListener({ port: 0 });
    await expectEcho(await connectTo(port), 'again');
  });

  it('is superseded by close()', async () => {
    const { testServer, server, requests } = await startWithheld(transport);
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    await requests.next();
    await until(() => server.metrics().requestsTotal === 2, 'two requests');
    const removing = server.removeListener('PLAINTEXT', { drainMs: 60_000 });
    const closing = server.close({ timeoutMs: 20 });
    expect(await within(closing, 'the end')).toEqual({ completed: 0, cut: 2 });
    expect(await within(removing, 'the removal')).toEqual({ completed: 0, cut: 2 });
    expect(testServer.closed.all).toMatchObject([{ code: 'DEADLINE', unanswered: 2 }]);
  });

  it('has its deadline prolonged by close()', async () => {
    const { testServer, server, requests, answer } = await startWithheld(transport);
    const client = await testServer.connect();
    client.send(frame('a'));
    await requests.next();
    const removing = server.removeListener('PLAINTEXT', { drainMs: 0 });
    const closing = server.close();
    for (let i = 0; i < 10; i++) await nextTurn();
    answer.resolve(Buffer.from('done'));
    expect((await client.readToEnd()).equals(frame('done'))).toBe(true);
    expect(await removing).toEqual({ completed: 1, cut: 0 });
    expect(await closing).toEqual({ completed: 1, cut: 0 });
  });

  it.skipIf(isPooled(transport))('doesn’t wait for the handler that awaits it', async () => {
    const summaries: unknown[] = [];
    const testServer = await startServer(transport, {
      listeners: two,
      handler: async ({ body }) => {
        summaries.push(await testServer.server.removeListener('GONE'));
        return body;
      },
    });
    const client = await testServer.connect({ listener: 'GONE' });
    client.send(frame('remove it'));
    expect((await client.readToEnd()).equals(frame('remove it'))).toBe(true);
    expect(summaries).toEqual([{ completed: 0, cut: 0 }]);
    expect(await testServer.closed.next()).toMatchObject({ code: 'LISTENER_REMOVED' });
    expect(names(testServer.server)).toEqual(['KEPT']);
  });

  it('leaves EventEmitter’s methods of these names what they are', async () => {
    const { server } = await startServer(transport);
    const heard: string[] = [];
    const hear = (): void => void heard.push('opened');
    expect(server.addListener('connectionOpened', hear)).toBe(server);
    server.once('connectionOpened', () => heard.push('once'));
    await connectTo(server.address().port);
    await until(() => heard.length === 2, 'both');
    expect(server.removeListener('connectionOpened', hear)).toBe(server);
    expect(server.listeners('connectionOpened')).not.toContain(hear);
    await connectTo(server.address().port);
    await expectMetrics(server, { connections: 2 });
    expect(heard.sort()).toEqual(['once', 'opened']);
  });
});

/** Sends requests until the connection ends; how many were sent, and how many came back. */
async function talk(client: Client, text: string): Promise<{ sent: number; answered: number }> {
  let sent = 0;
  let answered = 0;
  try {
    while (true) {
      const batch = Array.from({ length: 1 + (sent % 7) }, (_, i) => `${text} ${sent + i}`);
      client.send(frames(batch));
      sent += batch.length;
      for (const each of batch) {
        expect(await client.readText()).toBe(each);
        answered++;
      }
    }
  } catch (error) {
    if (!/^Error: (fin|reset) after 0 of 4/.test(String(error))) throw error;
  }
  return { sent, answered };
}

const isLinux = process.platform === 'linux';

describe.each(placements)('listeners that come and go (%s)', (transport) => {
  it('lose nothing of the others, nor what was received of their own', async () => {
    const testServer = await startServer(transport, {
      // Some at once, some in a later turn.
      handler: ({ body }) => (body.length % 3 === 0 ? nextTurn().then(() => body) : body),
    });
    const { server } = testServer;
    const port = server.address().port;
    let isOver = false;
    const steady = Array.from({ length: 3 }, async (_, i) => {
      const client = await connectTo(port);
      let rounds = 0;
      while (!isOver) await expectEcho(client, `steady ${i} ${rounds++}`);
      return rounds;
    });
    let answered = 0;
    let completed = 0;
    for (let round = 0; round < 15; round++) {
      const { port } = await server.addListener({ name: `ROUND ${round % 3}`, port: 0 });
      const clients = await Promise.all(Array.from({ length: 4 }, () => connectTo(port)));
      const talks = clients.map((client, i) => talk(client, `round ${round} ${i}`));
      // The bytes of the first replies have come: everybody is served.
      for (const client of clients) await until(() => client.socket.bytesRead > 0, 'a reply');
      const summary = await server.removeListener(`ROUND ${round % 3}`);
      expect(summary.cut).toBe(0);
      completed += summary.completed;
      for (const talked of await Promise.all(talks)) answered += talked.answered;
    }
    isOver = true;
    for (const rounds of await Promise.all(steady)) expect(rounds).toBeGreaterThan(0);
    const reasons = new Set(testServer.closed.all.map(({ code }) => code));
    expect([...reasons]).toEqual(['LISTENER_REMOVED']);
    expect(testServer.closed.all.every(({ unanswered }) => unanswered === 0)).toBe(true);
    expect(answered).toBeGreaterThan(completed);
    await expectMetrics(server, { connections: 3, pendingRequests: 0, requestQueueSize: 0 });
  });

  it('together with everything else that may change, let every call and every client come to its end', async () => {
    const dice = new Dice(3);
    const threads = isPooled(transport) || transport === 'native';
    const testServer = await startServer(transport, { networkThreads: 2 });
    const { server } = testServer;
    const done: Promise<unknown>[] = [];
    const ends: Promise<unknown>[] = [];
    const refusals = new Set<string>();
    const attempt = (what: Promise<unknown>): void => {
      done.push(what.catch((error) => refusals.add(error.code)));
    };
    for (let i = 0; i < 120; i++) {
      const name = `N${dice.roll(4)}`;
      const choice = dice.roll(6);
      if (choice < 2) {
        attempt(
          server.addListener({ name, port: 0 }).then(async ({ port }) => {
            const client = await Client.connect(port).catch(() => null);
            client?.send(frames(['some', 'requests']));
            if (dice.roll(3) === 0) client?.reset();
            else if (client !== null) ends.push(client.ended);
          }),
        );
      } else if (choice < 4) {
        attempt(server.removeListener(name, { drainMs: dice.roll(2) * 50 }));
      } else if (choice === 4 && threads) {
        attempt(server.resizeNetworkThreads(1 + dice.roll(3)));
      } else {
        server.updateLimits({ maxConnections: 100 + dice.roll(100) });
      }
      if (dice.roll(2) === 0) await nextTurn();
    }
    const closing = server.close({ timeoutMs: 50 });
    attempt(server.addListener({ name: 'LATE', port: 0 }));
    await within(closing, 'the end');
    await within(Promise.all(done), 'every call');
    await within(Promise.all(ends), 'the end of every client');
    for (const code of refusals) {
      expect([
        'ERR_ODRADEK_INVALID_OPTION',
        'ERR_ODRADEK_INVALID_ARGUMENT',
        'ERR_ODRADEK_INVALID_STATE',
      ]).toContain(code);
    }
  });

  it.skipIf(!isLinux)('need no descriptors any more once they are gone', async () => {
    const { server } = await startServer(transport);
    await expectEcho(await connectTo(server.address().port), 'warm');
    const before = await restingDescriptors();
    for (let i = 0; i < 20; i++) {
      const { port } = await server.addListener({ name: 'GOES', port: 0 });
      const client = await connectTo(port);
      await expectEcho(client, 'hello');
      await server.removeListener('GOES');
      await client.seeEnd();
      client.socket.destroy();
    }
    // Servers of earlier tests may have let go of theirs meanwhile.
    expect(await restingDescriptors()).toBeLessThanOrEqual(before);
  });
});

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

/** Those that the process has open, when what is under way has come to its end. */
async function restingDescriptors(): Promise<number> {
  await settles(openDescriptors);
  return openDescriptors();
}

const two = [
  { name: 'KEPT', port: 0 },
  { name: 'GONE', port: 0 },
];

async function startBoth(transport: Placement, options = {}) {
  const { server } = await startServer(transport, options);
  return { server, port: server.address().port };
}
