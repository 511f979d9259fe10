import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type HandlerThreadLoss, OdradekError } from 'odradek';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BackOff } from '../src/handler-pool/back-off.js';
import { frame, frames } from './support/bytes.js';
import { connectMany } from './support/handlers.js';
import { commandPool, poolTransports, Shared, startPool } from './support/pool.js';
import { expectMetrics, makeServer, startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { defer, until } from './support/wait.js';

const small = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 8 };

/** Ways in which a thread ends by its handler's doing, and what is known of the reason. */
const endings: [string, string, unknown][] = [
  ['an uncaught error', 'crash', expect.objectContaining({ message: 'crashed' })],
  ['an unhandled rejection', 'rejectUnseen', expect.objectContaining({ message: 'nobody saw' })],
  ['an exit', 'exit 3', undefined],
  ['an exit without an error', 'exit 0', undefined],
  ['too little memory', 'eat', expect.objectContaining({ code: 'ERR_WORKER_OUT_OF_MEMORY' })],
];

const onHandlerError = (error: unknown) =>
  Buffer.from(error instanceof OdradekError ? error.code : String(error));

const idle = { idleMs: expect.any(Number), idlePercent: expect.any(Number) };

describe.each(poolTransports)('a lost handler thread (%s)', (transport) => {
  describe.each(endings)('by %s', (_name, command, cause) => {
    it('is replaced, and onHandlerError answers what it had begun', async () => {
      const { testServer, shared } = await startPool(
        transport,
        { resourceLimits: small },
        { onHandlerError },
      );
      const [client, parked] = await connectMany(testServer, 2);
      const gate = shared.gate();
      parked?.send(frame(`park ${gate}`));
      await until(() => shared.count('begun') === 1, 'the first request');
      client?.send(frames([command, 'echo 1', 'echo 2']));
      const code = 'ERR_ODRADEK_HANDLER_LOST';
      expect(await client?.readTexts(3)).toEqual([code, 'echo 1', 'echo 2']);
      expect(await parked?.readText()).toBe(code);
      const loss = await testServer.losses.next();
      expect(loss).toEqual({
        thread: 0,
        error: expect.any(OdradekError),
        started: 2,
        // The core's threads claim what follows of a connection together.
        requeued: transport === 'js' ? 0 : 2,
        restartInMs: 0,
      });
      expect(loss.error.cause).toEqual(cause);
      expect(testServer.errors.all.map(({ error }) => error)).toEqual([loss.error, loss.error]);
      expect(shared.count('setups')).toBe(2);
      expect(shared.count('teardowns')).toBe(0);
      await expectMetrics(testServer.server, {
        requestsInFlight: 0,
        pendingRequests: 0,
        handlerErrorsTotal: 2,
        handlerThreads: [{ thread: 0, inFlight: 0, startedTotal: 4, restarts: 1, ...idle }],
      });
    });

    it('costs the connection where onHandlerError makes no reply', async () => {
      const { testServer } = await startPool(transport, { threads: 2, resourceLimits: small });
      const [client, other] = await connectMany(testServer, 2);
      client?.send(frame('echo 1'));
      expect(await client?.readText()).toBe('echo 1');
      client?.send(frames([command, 'echo 2']));
      expect((await client?.readToEnd())?.length).toBe(0);
      expect(await testServer.closed.next()).toMatchObject({
        code: 'HANDLER_LOST',
        unanswered: 2,
      });
      other?.send(frame('echo on'));
      expect(await other?.readText()).toBe('echo on');
    });
  });

  it('lets nobody begin what comes behind before everything that it had begun has failed', async () => {
    // What the thread had answered in its last turn is lost with it.
    const begun: number[] = [];
    const { testServer, shared } = await startPool(
      transport,
      { threads: 2, resourceLimits: small },
      {
        onHandlerError: (error) => {
          // Time for the other thread, if it may begin.
          Atomics.wait(shared.memory, 63, 0, 50);
          begun.push(shared.count('begun'));
          return onHandlerError(error);
        },
      },
    );
    const client = await testServer.connect();
    client.send(frames(['echo 1', 'echo 2', 'eat', 'echo 3', 'echo 4']));
    const texts = await client.readTexts(5);
    expect(texts.slice(2)).toEqual(['ERR_ODRADEK_HANDLER_LOST', 'echo 3', 'echo 4']);
    expect(begun.length).toBe(texts.filter((text) => text === texts[2]).length);
    expect(begun).toEqual(begun.map(() => 3));
  });

  it('gives back what it had not begun, and the order stays', async () => {
    // A message is given to the thread; of the core's requests it takes none that it can't begin.
    const given = transport === 'js' ? 2 : 1;
    const { testServer, shared } = await startPool(transport, {}, { onHandlerError });
    const [client, other, last] = await connectMany(testServer, 3);
    const gate = shared.gate();
    client?.send(frame(`blockLater ${gate}`));
    await until(() => shared.count('aborted') === 1, 'the block');
    other?.send(frames(['echo 1', 'echo 2', 'none', 'echo 3']));
    await expectMetrics(testServer.server, {
      handlerThreads: [{ thread: 0, inFlight: given, startedTotal: 1, restarts: 0, ...idle }],
    });
    last?.send(frame('echo last'));
    await expectMetrics(testServer.server, { requestsTotal: 6 });
    shared.open(gate);
    expect(await client?.readText()).toBe('ERR_ODRADEK_HANDLER_LOST');
    expect(await testServer.losses.next()).toMatchObject({ started: 1, requeued: given - 1 });
    expect(await other?.readTexts(3)).toEqual(['echo 1', 'echo 2', 'echo 3']);
    expect(await last?.readText()).toBe('echo last');
    expect(shared.count('begun')).toBe(6);
  });

  it('is replaced again where its replacement hangs', async () => {
    // Ample for a setup that does not hang.
    const { testServer, shared } = await startPool(
      transport,
      { startTimeoutMs: 4000 },
      { onHandlerError },
    );
    shared.hang(1);
    const client = await testServer.connect();
    client.send(frames(['exit 1', 'echo on']));
    expect(await testServer.losses.next()).toMatchObject({ started: 1, restartInMs: 0 });
    const second = await testServer.losses.next();
    expect(second).toMatchObject({ started: 0, restartInMs: 100 });
    expect(second.error).toMatchObject({ code: 'ERR_ODRADEK_HANDLER_MODULE' });
    expect(await client.readTexts(2)).toEqual(['ERR_ODRADEK_HANDLER_LOST', 'echo on']);
  });

  it('is replaced where it was lost while others were loading', async () => {
    const shared = new Shared();
    const gate = shared.gate();
    const data = { exitOn: 0, waitOn: 1, gate };
    const testServer = makeServer(transport, {
      handlerPool: commandPool(shared, { threads: 2, concurrency: 1, data }),
    });
    const started = testServer.server.start();
    const loss = await testServer.losses.next();
    expect(loss).toMatchObject({ thread: 0, started: 0, requeued: 0, restartInMs: 0 });
    shared.open(gate);
    await started;
    const clients = await connectMany(testServer, 2);
    const end = shared.gate();
    // Each has a thread, and none waits for one that is gone.
    for (const client of clients) client.send(frame(`park ${end}`));
    await until(() => shared.count('begun') === 2, 'both');
    shared.open(end);
    for (const client of clients) expect(await client.readText()).toBe(`park ${end}`);
  });

  it('is published to diagnostics_channel', async () => {
    const { testServer } = await startPool(transport, {}, { onHandlerError });
    const messages: unknown[] = [];
    const listen = (message: unknown) => messages.push(message);
    subscribe('odradek.handler.threadLost', listen);
    onTestFinished(() => {
      unsubscribe('odradek.handler.threadLost', listen);
    });
    const client = await testServer.connect();
    client.send(frames(['exit 1', 'echo on']));
    expect(await client.readTexts(2)).toEqual(['ERR_ODRADEK_HANDLER_LOST', 'echo on']);
    const loss = await testServer.losses.next();
    expect(messages).toEqual([{ server: testServer.server, loss }]);
  });

  it('still has said what it said before', async () => {
    const { testServer } = await startPool(transport, {}, { onHandlerError });
    const clients = await connectMany(testServer, 20);
    for (const client of clients.slice(1)) client.send(frames(['soon', 'echo 1']));
    clients[0]?.send(frame('exit 1'));
    for (const client of clients.slice(1)) {
      expect(await client.readTexts(2)).toEqual(['soon', 'echo 1']);
    }
    expect(await clients[0]?.readText()).toBe('ERR_ODRADEK_HANDLER_LOST');
  });

  it("has a successor that gets its connections, with affinity 'connection'", async () => {
    const { testServer } = await startPool(
      transport,
      { threads: 3, affinity: 'connection' },
      { onHandlerError },
    );
    const clients = await connectMany(testServer, 3);
    const threads: string[] = [];
    for (const client of clients) {
      client.send(frames(['thread', 'count', 'exit 1', 'thread', 'count']));
      const [before, , , after, state] = await client.readTexts(5);
      expect(after).toBe(before);
      expect(state).toBe(`${before}:1`);
      threads.push(before as string);
    }
    expect(threads.sort()).toEqual(['0', '1', '2']);
  });

  it('is replaced at once, then with more and more patience', async () => {
    const { testServer } = await startPool(transport, {}, { onHandlerError });
    const client = await testServer.connect();
    const losses: HandlerThreadLoss[] = [];
    for (let i = 0; i < 3; i++) {
      client.send(frame('exit 1'));
      await client.readText();
      losses.push(await testServer.losses.next());
    }
    expect(losses.map(({ restartInMs }) => restartInMs)).toEqual([0, 100, 200]);
    client.send(frame('echo on'));
    expect(await client.readText()).toBe('echo on');
    await expectMetrics(testServer.server, {
      handlerThreads: [expect.objectContaining({ restarts: 3 })],
    });
  });

  it('is replaced again where its successor can not be set up', async () => {
    const { testServer, shared } = await startPool(transport, {}, { onHandlerError });
    const client = await testServer.connect();
    shared.refuse(2);
    client.send(frames(['exit 1', 'echo 1']));
    expect(await client.readTexts(2)).toEqual(['ERR_ODRADEK_HANDLER_LOST', 'echo 1']);
    expect(await testServer.losses.next()).toMatchObject({ started: 1, restartInMs: 0 });
    for (const restartInMs of [100, 200]) {
      const loss = await testServer.losses.next();
      expect(loss).toMatchObject({ thread: 0, started: 0, requeued: 0, restartInMs });
      expect(loss.error).toMatchObject({ code: 'ERR_ODRADEK_HANDLER_MODULE' });
      expect(loss.error.cause).toEqual(new Error('not now'));
    }
    expect(shared.count('setups')).toBe(4);
  });

  it('leaves its requests to the others while it is not replaced', async () => {
    const { testServer } = await startPool(transport, { threads: 2 }, { onHandlerError });
    const client = await testServer.connect();
    client.send(frames(Array.from({ length: 6 }, () => 'exit 1')));
    client.send(frame('echo on'));
    await client.readTexts(6);
    expect(await client.readText()).toBe('echo on');
    for (let i = 0; i < 6; i++)
      expect(await testServer.losses.next()).toMatchObject({ started: 1 });
  });

  describe('that is blocked for longer than handlerTimeoutMs', () => {
    it.each(['spin', 'block 63'])('is replaced (%s)', async (command) => {
      const { testServer, shared } = await startPool(
        transport,
        {},
        { handlerTimeoutMs: 200, onHandlerError },
      );
      const [client, parked] = await connectMany(testServer, 2);
      parked?.send(frame(`park ${shared.gate()}`));
      await until(() => shared.count('begun') === 1, 'the first request');
      client?.send(frames([command, 'echo 1']));
      const code = 'ERR_ODRADEK_HANDLER_TIMEOUT';
      expect(await client?.readTexts(2)).toEqual([code, 'echo 1']);
      expect(await parked?.readText()).toBe(code);
      expect(await testServer.losses.next()).toMatchObject({
        error: expect.objectContaining({ code }),
        requeued: transport === 'js' ? 0 : 1,
        restartInMs: 0,
      });
      await expectMetrics(testServer.server, { requestsInFlight: 0, handlerErrorsTotal: 2 });
    });

    it('costs the connection where onHandlerError makes no reply', async () => {
      const { testServer } = await startPool(transport, {}, { handlerTimeoutMs: 100 });
      const client = await testServer.connect();
      client.send(frames(['spin', 'echo 1']));
      expect((await client.readToEnd()).length).toBe(0);
      expect(await testServer.closed.next()).toMatchObject({
        code: 'HANDLER_TIMEOUT',
        unanswered: 2,
      });
    });

    it('gives back what it had not begun', async () => {
      const { testServer, shared } = await startPool(
        transport,
        {},
        { handlerTimeoutMs: 200, onHandlerError },
      );
      const [client, other] = await connectMany(testServer, 2);
      client?.send(frame(`blockLater ${shared.gate()}`));
      await until(() => shared.count('aborted') === 1, 'the block');
      other?.send(frames(['echo 1', 'echo 2']));
      expect(await client?.readText()).toBe('ERR_ODRADEK_HANDLER_TIMEOUT');
      // Whether it is late itself depends on when it was given to the thread.
      expect(['echo 1', 'ERR_ODRADEK_HANDLER_TIMEOUT']).toContain(await other?.readText());
      expect(await other?.readText()).toBe('echo 2');
      await testServer.losses.next();
    });
  });

  it('is not lost for work that it does in time', async () => {
    const { testServer, shared } = await startPool(
      transport,
      { threads: 2 },
      { handlerTimeoutMs: 2000, onHandlerError },
    );
    const client = await testServer.connect();
    const gate = shared.gate();
    client.send(frames([`block ${gate}`, 'echo 1']));
    await until(() => shared.count('begun') === 1, 'the block');
    shared.open(gate);
    expect(await client.readTexts(2)).toEqual([`block ${gate}`, 'echo 1']);
    expect(testServer.losses.all).toEqual([]);
  });
});

describe.each(poolTransports)('handlerTimeoutMs of a handler pool (%s)', (transport) => {
  it('fails a request that takes longer, and the thread goes on', async () => {
    const { testServer, shared } = await startPool(
      transport,
      {},
      { handlerTimeoutMs: 150, onHandlerError },
    );
    const client = await testServer.connect();
    const gate = shared.gate();
    client.send(frames(['signal', `park ${gate}`, 'echo 1']));
    const code = 'ERR_ODRADEK_HANDLER_TIMEOUT';
    expect(await client.readTexts(3)).toEqual([code, code, 'echo 1']);
    await until(() => shared.count('aborted') === 1, 'the abort of its signal');
    shared.open(gate);
    client.send(frame('echo 2'));
    expect(await client.readText()).toBe('echo 2');
    expect(testServer.losses.all).toEqual([]);
    await expectMetrics(testServer.server, {
      handlerErrorsTotal: 2,
      handlerThreads: [{ thread: 0, inFlight: 0, startedTotal: 4, restarts: 0, ...idle }],
    });
  });
});

describe.each(placements)('handlerTimeoutMs (%s)', (transport) => {
  it('fails a request that takes longer; its later answer is ignored', async () => {
    const answers = [defer<Buffer>(), defer<Buffer>()];
    const signals: AbortSignal[] = [];
    const testServer = await startServer(transport, {
      handlerTimeoutMs: 50,
      onHandlerError,
      handler: (request) => {
        const late = answers[signals.length];
        if (late === undefined) return request.body;
        signals.push(request.signal);
        return late.promise;
      },
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b', 'c']));
    const code = 'ERR_ODRADEK_HANDLER_TIMEOUT';
    expect(await client.readTexts(3)).toEqual([code, code, 'c']);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    expect(signals[0]?.reason).toMatchObject({ code });
    answers[0]?.resolve(Buffer.from('late'));
    answers[1]?.reject(new Error('late'));
    client.send(frame('d'));
    expect(await client.readText()).toBe('d');
    expect(testServer.errors.all).toHaveLength(2);
    await expectMetrics(testServer.server, { requestsInFlight: 0, handlerErrorsTotal: 2 });
  });

  it('closes the connection where onHandlerError makes no reply', async () => {
    const testServer = await startServer(transport, {
      handlerTimeoutMs: 20,
      handler: () => new Promise<Buffer>(() => undefined),
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    expect((await client.readToEnd()).length).toBe(0);
    expect(await testServer.closed.next()).toMatchObject({
      code: 'HANDLER_TIMEOUT',
      unanswered: 2,
    });
  });

  it('keeps the order with several requests in flight', async () => {
    const answer = defer<Buffer>();
    const testServer = await startServer(transport, {
      handlerTimeoutMs: 100,
      maxInFlightPerConnection: 3,
      onHandlerError,
      handler: ({ body }) => (body.toString() === 'late' ? answer.promise : body),
    });
    const client = await testServer.connect();
    client.send(frames(['late', 'b', 'c']));
    expect(await client.readTexts(3)).toEqual(['ERR_ODRADEK_HANDLER_TIMEOUT', 'b', 'c']);
    answer.resolve(Buffer.from('late'));
    client.send(frame('d'));
    expect(await client.readText()).toBe('d');
  });

  it('leaves alone what is answered in time', async () => {
    const testServer = await startServer(transport, {
      handlerTimeoutMs: 1,
      handler: async ({ body }) => body,
    });
    const client = await testServer.connect();
    for (let i = 0; i < 200; i++) {
      client.send(frame('soon'));
      expect(await client.readText()).toBe('soon');
    }
    expect(testServer.errors.all).toEqual([]);
  });
});

describe('BackOff', () => {
  it('doubles up to its bound, and forgets what was lost long ago', () => {
    const backOff = new BackOff();
    const delays = Array.from({ length: 9 }, () => backOff.next(50));
    expect(delays).toEqual([0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    expect(backOff.next(10_000)).toBe(0);
    expect(backOff.next(9_999)).toBe(100);
  });
});
