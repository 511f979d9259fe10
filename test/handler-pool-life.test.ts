import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { type ErrorCode, OdradekError, SocketServer } from 'odradek';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { frame, frames } from './support/bytes.js';
import { Client } from './support/client.js';
import { connectMany } from './support/handlers.js';
import { commandPool, handlers, poolTransports, Shared, startPool } from './support/pool.js';
import { expectMetrics, makeServer, startServer } from './support/server.js';
import { until, within } from './support/wait.js';

/** The error that a promise rejects with, which must be a coded one. */
async function rejection(promise: Promise<unknown>, code: ErrorCode): Promise<OdradekError> {
  const error = await within(
    promise.then(
      () => undefined,
      (reason: unknown) => reason,
    ),
    'the end',
  );
  expect(error).toBeInstanceOf(OdradekError);
  expect(error).toMatchObject({ code });
  return error as OdradekError;
}

/** Threads that this process has started since the test began, and not ended. */
const threads = new Set<Worker>();
const started = (worker: Worker): void => {
  threads.add(worker);
  worker.once('exit', () => threads.delete(worker));
};

beforeEach(() => {
  threads.clear();
  process.on('worker', started);
});

afterEach(() => {
  process.off('worker', started);
});

describe.each(poolTransports)('a module of handlers (%s)', (transport) => {
  it.each<[string, string, RegExp, unknown]>([
    [
      'does not exist',
      'nowhere.mjs',
      /nowhere\.mjs can't be loaded$/,
      { code: 'ERR_MODULE_NOT_FOUND' },
    ],
    ['is no JavaScript', 'broken.mjs', /broken\.mjs can't be loaded$/, { name: 'SyntaxError' }],
    ['throws', 'throwing.mjs', /throwing\.mjs can't be loaded$/, { message: 'no module today' }],
    [
      'has no default export',
      'unnamed.mjs',
      /default export of .*unnamed\.mjs must be a function, got undefined$/,
      undefined,
    ],
    [
      'has a default export that is no function',
      'number.mjs',
      /default export of .* must be a function, got 42$/,
      undefined,
    ],
    [
      'has a setup that is no function',
      'odd-setup.mjs',
      /setup of .* must be a function, got "soon"$/,
      undefined,
    ],
    [
      'has an onOverload that is no function',
      'odd-overload.mjs',
      /onOverload of .* must be a function, got "busy"$/,
      undefined,
    ],
    ['exits', 'exiting.mjs', /exiting\.mjs: it exited with code 5 before it was ready$/, undefined],
    [
      'crashes later',
      'crashing.mjs',
      /crashing\.mjs: it exited with code 1 before it was ready$/,
      { message: 'crashed while it was set up' },
    ],
    [
      'has a setup that rejects',
      'rejecting.mjs',
      /setup of .*rejecting\.mjs failed$/,
      { message: 'no setup today', code: 'E_TODAY' },
    ],
  ])('that %s fails start(), and nothing was opened', async (_name, name, message, cause) => {
    const taken = await startServer(transport);
    const server = new SocketServer({
      // If it were opened before, that would fail.
      listeners: [{ port: taken.port() }],
      transport,
      handlerPool: { module: handlers(name), threads: 2 },
    });
    const error = await rejection(server.start(), 'ERR_ODRADEK_HANDLER_MODULE');
    expect(error.message).toMatch(message);
    if (cause === undefined) expect(error.cause).toBeUndefined();
    else expect(error.cause).toMatchObject(cause as object);
    expect(threads.size).toBe(0);
    await rejection(server.start(), 'ERR_ODRADEK_INVALID_STATE');
    await server.close();
  });

  it.each([
    ['waits', 'endless.mjs'],
    ['blocks', 'blocked.mjs'],
  ])('that %s in its setup fails start() after startTimeoutMs', async (_name, name) => {
    const { server } = makeServer(transport, {
      handlerPool: { module: handlers(name), threads: 2, startTimeoutMs: 100 },
    });
    const error = await rejection(server.start(), 'ERR_ODRADEK_HANDLER_MODULE');
    expect(error.message).toMatch(/mjs: it was not ready within 100 ms$/);
    expect(threads.size).toBe(0);
  });

  it('may be CommonJS, also as compilers make it', async () => {
    for (const name of ['common.cjs', 'compiled.cjs']) {
      const testServer = await startServer(transport, {
        handlerPool: { module: fileURLToPath(handlers(name)), threads: 1 },
      });
      const client = await testServer.connect();
      client.send(frame('hello'));
      expect(await client.readText()).toBe(`${name}: hello`);
    }
  });

  it('is set up once in each thread, with its number and the data', async () => {
    const { testServer, shared } = await startPool(transport, {
      threads: 3,
      affinity: 'connection',
      data: { echo: { table: [1, 2, { three: 3n }.three.toString()] } },
    });
    const clients = await connectMany(testServer, 3);
    const seen: string[] = [];
    for (const client of clients) {
      client.send(frames(['thread', 'data']));
      const [thread, data] = await client.readTexts(2);
      expect(data).toBe('{"table":[1,2,"3"]}');
      seen.push(thread as string);
    }
    expect(seen.sort()).toEqual(['0', '1', '2']);
    expect(shared.count('setups')).toBe(3);
  });

  it('is torn down in each thread at the end of the server', async () => {
    const { testServer, shared } = await startPool(transport, { threads: 3 });
    expect(threads.size).toBe(3);
    await testServer.server.close();
    expect(shared.count('teardowns')).toBe(3);
    expect(threads.size).toBe(0);
  });

  it('is torn down where a listener can not be opened', async () => {
    const taken = await startServer(transport);
    const shared = new Shared();
    const server = new SocketServer({
      listeners: [{ port: taken.port() }],
      transport,
      handlerPool: commandPool(shared, { threads: 2 }),
    });
    await rejection(server.start(), 'ERR_ODRADEK_LISTEN');
    expect(shared.count('teardowns')).toBe(2);
    expect(threads.size).toBe(0);
  });

  it('may fail in its teardown, which is reported', async () => {
    const { testServer } = await startPool(transport, { data: { teardown: 'throw' } });
    await testServer.server.close();
    expect(testServer.errors.all).toEqual([{ error: new Error('no end'), request: null }]);
    expect(threads.size).toBe(0);
  });
});

describe.each(poolTransports)('close() with a handler pool (%s)', (transport) => {
  it('waits for requests in the hands of threads', async () => {
    // A thread for each: one that waits for `parked` might begin the other request, too.
    const pool = { threads: 2, affinity: 'connection' } as const;
    const { testServer, shared } = await startPool(transport, pool);
    const [a, b] = await connectMany(testServer, 2);
    const [parked, blocked] = [shared.gate(), shared.gate()];
    a?.send(frame(`park ${parked}`));
    b?.send(frame(`block ${blocked}`));
    await until(() => shared.count('begun') === 2, 'both requests');
    const closing = testServer.server.close();
    shared.open(parked);
    expect(await a?.readText()).toBe(`park ${parked}`);
    shared.open(blocked);
    expect(await b?.readText()).toBe(`block ${blocked}`);
    expect(await closing).toEqual({ completed: 2, cut: 0 });
    expect(shared.count('teardowns')).toBe(2);
    expect(threads.size).toBe(0);
  });

  it('answers what waits for a thread, too', async () => {
    const { testServer, shared } = await startPool(transport, { concurrency: 1 });
    const [a, b] = await connectMany(testServer, 2);
    const gate = shared.gate();
    a?.send(frames([`park ${gate}`, 'echo 1', 'echo 2']));
    await until(() => shared.count('begun') === 1, 'the first');
    b?.send(frame('echo 3'));
    await expectMetrics(testServer.server, { requestsTotal: 4 });
    const closing = testServer.server.close();
    shared.open(gate);
    expect(await a?.readTexts(3)).toEqual([`park ${gate}`, 'echo 1', 'echo 2']);
    expect(await b?.readText()).toBe('echo 3');
    expect(await closing).toEqual({ completed: 4, cut: 0 });
  });

  it('cuts off what is left at the deadline, and ends threads that are blocked', async () => {
    const { testServer, shared } = await startPool(transport, { threads: 2 });
    const [a, b] = await connectMany(testServer, 2);
    a?.send(frame('spin'));
    b?.send(frame(`park ${shared.gate()}`));
    await until(() => shared.count('begun') === 2, 'both requests');
    const summary = await within(testServer.server.close({ timeoutMs: 50 }), 'the end');
    expect(summary).toEqual({ completed: 0, cut: 2 });
    expect(await testServer.closed.next()).toMatchObject({ code: 'DEADLINE', unanswered: 1 });
    expect(testServer.errors.all).toEqual([]);
    expect(testServer.losses.all).toEqual([]);
    await expectMetrics(testServer.server, { requestsInFlight: 0, pendingRequests: 0 });
    // The one that was not blocked ended in order.
    expect(shared.count('teardowns')).toBe(1);
    expect(threads.size).toBe(0);
  });

  it('does not wait longer than that for a teardown', async () => {
    const { testServer, shared } = await startPool(transport, { data: { teardown: 'hang' } });
    const summary = await within(testServer.server.close({ timeoutMs: 150 }), 'the end');
    expect(summary).toEqual({ completed: 0, cut: 0 });
    expect(shared.count('teardowns')).toBe(0);
    expect(threads.size).toBe(0);
  });

  it('ends threads that are being set up', async () => {
    const server = new SocketServer({
      listeners: [{ port: 0 }],
      transport,
      handlerPool: { module: handlers('endless.mjs'), threads: 2 },
    });
    const starting = rejection(server.start(), 'ERR_ODRADEK_INVALID_STATE');
    await until(() => threads.size === 2, 'the threads');
    await server.close();
    await starting;
    expect(threads.size).toBe(0);
  });

  it('leaves nothing behind after `await using`', async () => {
    const shared = new Shared();
    {
      await using server = new SocketServer({
        listeners: [{ port: 0 }],
        transport,
        handlerPool: commandPool(shared, { threads: 2 }),
      });
      await server.start();
      const client = await Client.connect(server.address().port);
      client.send(frame('echo 1'));
      expect(await client.readText()).toBe('echo 1');
      client.socket.destroy();
    }
    expect(shared.count('teardowns')).toBe(2);
    expect(threads.size).toBe(0);
  });

  it('ends a pool whose threads can not be replaced', async () => {
    const { testServer } = await startPool(
      transport,
      {},
      { onHandlerError: () => Buffer.from('lost') },
    );
    const client = await testServer.connect();
    client.send(frames(['exit 1', 'exit 1', 'exit 1', 'exit 1']));
    await client.readTexts(4);
    await until(() => testServer.losses.all.at(-1)?.restartInMs === 400, 'the back-off');
    await testServer.server.close();
    expect(threads.size).toBe(0);
  });
});

describe.each(poolTransports)('resizeHandlerPool (%s)', (transport) => {
  it('loses nothing and keeps the order under load', async () => {
    const { testServer, shared } = await startPool(transport, { threads: 2 });
    const { server } = testServer;
    const clients = await connectMany(testServer, 12);
    const commands = ['echo', 'soon', 'count', 'thread'];
    let isOver = false;
    const loads = clients.map(async (client) => {
      let answered = 0;
      while (!isOver) {
        client.send(frames(commands.map((command) => `${command} ${answered}`)));
        const [echo, soon] = await client.readTexts(commands.length);
        expect([echo, soon]).toEqual([`echo ${answered}`, `soon ${answered}`]);
        answered += commands.length;
      }
      return answered;
    });
    for (const count of [5, 1, 3, 2, 6, 1]) {
      await server.resizeHandlerPool(count);
      expect(server.metrics().handlerThreads).toHaveLength(count);
      expect(threads.size).toBe(count);
      const { responsesTotal } = server.metrics();
      await until(() => server.metrics().responsesTotal > responsesTotal + 100, 'work');
    }
    isOver = true;
    const answered = (await Promise.all(loads)).reduce((sum, count) => sum + count, 0);
    expect(shared.count('begun')).toBe(answered);
    expect(shared.count('setups')).toBe(11);
    await until(() => shared.count('teardowns') === 10, 'the teardowns');
    expect(testServer.losses.all).toEqual([]);
    expect(testServer.errors.all).toEqual([]);
  });

  it('waits for what a leaving thread has, and gives it nothing more', async () => {
    const { testServer, shared } = await startPool(transport, { threads: 2, concurrency: 2 });
    const clients = await connectMany(testServer, 4);
    const gate = shared.gate();
    for (const client of clients) client.send(frame(`park ${gate}`));
    await until(() => shared.count('begun') === 4, 'all of them');
    let isResized = false;
    const resizing = testServer.server.resizeHandlerPool(1).then(() => {
      isResized = true;
    });
    const other = await testServer.connect();
    other.send(frame('thread'));
    await expectMetrics(testServer.server, { requestQueueSize: 1 });
    expect(isResized).toBe(false);
    shared.open(gate);
    await resizing;
    for (const client of clients) expect(await client.readText()).toBe(`park ${gate}`);
    expect(await other.readText()).toBe('0');
    expect(threads.size).toBe(1);
  });

  it("moves connections of a leaving thread, with affinity 'connection'", async () => {
    const { testServer } = await startPool(transport, { threads: 3, affinity: 'connection' });
    const clients = await connectMany(testServer, 6);
    const where = async () => {
      const answers: string[] = [];
      for (const client of clients) {
        client.send(frame('thread'));
        answers.push(await client.readText());
      }
      return answers;
    };
    const before = await where();
    await testServer.server.resizeHandlerPool(2);
    const after = await where();
    expect([...after].sort()).toEqual(['0', '0', '0', '1', '1', '1']);
    // Those of the others stay where they were.
    expect(after.filter((thread, i) => thread === before[i])).toHaveLength(4);
    await testServer.server.resizeHandlerPool(3);
    expect(await where()).toEqual(after);
    const next = await testServer.connect();
    next.send(frame('thread'));
    expect(await next.readText()).toBe('2');
  });

  it('is served one after the other', async () => {
    const { testServer } = await startPool(transport);
    const { server } = testServer;
    await Promise.all([4, 2, 3].map((count) => server.resizeHandlerPool(count)));
    expect(server.metrics().handlerThreads).toHaveLength(3);
    expect(threads.size).toBe(3);
  });

  it('rejects where a new thread can not be set up, and the others stay', async () => {
    const { testServer } = await startPool(transport, { data: { failOn: 2 } });
    const { server } = testServer;
    const error = await rejection(server.resizeHandlerPool(4), 'ERR_ODRADEK_HANDLER_MODULE');
    expect(error.cause).toMatchObject({ message: 'not thread 2' });
    expect(server.metrics().handlerThreads).toHaveLength(1);
    expect(threads.size).toBe(1);
    expect(testServer.losses.all).toEqual([]);
    await server.resizeHandlerPool(2);
    expect(threads.size).toBe(2);
  });

  it('is over where the leaving thread is lost', async () => {
    const { testServer, shared } = await startPool(
      transport,
      { threads: 2, affinity: 'connection' },
      { onHandlerError: () => Buffer.from('lost') },
    );
    const clients = await connectMany(testServer, 2);
    for (const client of clients) client.send(frame('thread'));
    const threadsOf = [await clients[0]?.readText(), await clients[1]?.readText()];
    const leaving = clients[threadsOf.indexOf('1')];
    const gate = shared.gate();
    leaving?.send(frames([`blockLater ${gate}`, 'thread']));
    await until(() => shared.count('aborted') === 1, 'the block');
    const resizing = testServer.server.resizeHandlerPool(1);
    shared.open(gate);
    await resizing;
    expect(await leaving?.readTexts(2)).toEqual(['lost', '0']);
    expect(await testServer.losses.next()).toMatchObject({ thread: 1, restartInMs: null });
    expect(threads.size).toBe(1);
  });

  it('moves the connections of a thread that waits for its replacement, too', async () => {
    const { testServer } = await startPool(
      transport,
      { threads: 2, affinity: 'connection' },
      { onHandlerError: () => Buffer.from('lost') },
    );
    const clients = await connectMany(testServer, 2);
    for (const client of clients) client.send(frame('thread'));
    const threadsOf = [await clients[0]?.readText(), await clients[1]?.readText()];
    const leaving = clients[threadsOf.indexOf('1')];
    leaving?.send(frames(['exit 1', 'exit 1', 'exit 1', 'exit 1', 'exit 1', 'thread', 'thread']));
    expect(await leaving?.readTexts(5)).toEqual(['lost', 'lost', 'lost', 'lost', 'lost']);
    await until(() => testServer.losses.all.at(-1)?.restartInMs === 800, 'the back-off');
    await testServer.server.resizeHandlerPool(1);
    expect(await leaving?.readTexts(2)).toEqual(['0', '0']);
    expect(threads.size).toBe(1);
  });

  it('is superseded by close()', async () => {
    const { testServer, shared } = await startPool(transport, { threads: 2 });
    const clients = await connectMany(testServer, 2);
    const gate = shared.gate();
    for (const client of clients) client.send(frame(`block ${gate}`));
    await until(() => shared.count('begun') === 2, 'both requests');
    const resizing = rejection(testServer.server.resizeHandlerPool(1), 'ERR_ODRADEK_INVALID_STATE');
    await testServer.server.close({ timeoutMs: 20 });
    await resizing;
    expect(threads.size).toBe(0);
  });

  it('takes nothing but a number of threads, of a pool, while the server runs', async () => {
    const { testServer } = await startPool(transport);
    for (const count of [0, 257, 1.5, '2', undefined]) {
      const resizing = testServer.server.resizeHandlerPool(count as number);
      const error = await rejection(resizing, 'ERR_ODRADEK_INVALID_ARGUMENT');
      expect(error.message).toMatch(/threads must be an integer from 1 to 256, got /);
    }
    await testServer.server.close();
    await rejection(testServer.server.resizeHandlerPool(2), 'ERR_ODRADEK_INVALID_STATE');
    const other = makeServer(transport);
    await rejection(other.server.resizeHandlerPool(2), 'ERR_ODRADEK_INVALID_STATE');
    expect(other.server.metrics().handlerThreads).toEqual([]);
  });
});

describe.each(poolTransports)('a process with a handler pool (%s)', (transport) => {
  it.each([
    ['unref', 'unref lets it end'],
    ['forget', 'it ends by its own exit'],
    ['close', 'it ends after close()'],
  ])('%s: %s', async (how) => {
    const script = fileURLToPath(handlers('process.mjs'));
    const child = spawn(process.execPath, [script, transport, how], { stdio: 'pipe' });
    let output = '';
    child.stdout.on('data', (text) => {
      output += text;
    });
    child.stderr.on('data', (text) => {
      output += text;
    });
    const [code] = await within(once(child, 'close'), 'the end of the process', 20_000);
    expect({ code, output }).toEqual({ code: 0, output: 'echo\n' });
  });
});
