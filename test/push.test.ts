import { type Connection, delimited, lengthPrefixed, type Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, pattern } from './support/bytes.js';
import { startPipelined } from './support/handlers.js';
import { startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { defer, Inbox, until, within } from './support/wait.js';

const closed = expect.objectContaining({ code: 'ERR_ODRADEK_CONNECTION_CLOSED' });

describe.each(placements)('connection.send() (%s)', (transport) => {
  /** A server, a client, and the connection as the server's own thread has it. */
  async function startBoth(options = {}) {
    const testServer = await startServer(transport, options);
    const [client, connection] = await testServer.connectBoth();
    return { testServer, server: testServer.server, client, connection };
  }

  it('reaches a client that has asked for nothing, framed as replies are', async () => {
    const { client, connection } = await startBoth();
    expect(connection.send(Buffer.from('one'))).toBe(true);
    expect(connection.send([Buffer.from('tw'), Buffer.alloc(0), Buffer.from('o')])).toBe(true);
    expect(await client.readText()).toBe('one');
    expect(await client.readText()).toBe('two');
    const large = pattern(300_000);
    connection.send([large, large]);
    expectBytes(await client.readFrame(), Buffer.concat([large, large]));
  });

  it('frames by the connection’s framing, or not at all', async () => {
    const lines = await startBoth({ framing: delimited('\n') });
    lines.connection.send(Buffer.from('news'));
    lines.connection.close();
    expect((await lines.client.readToEnd()).toString()).toBe('news\n');
    const plain = await startBoth({ frameReplies: false });
    plain.connection.send(Buffer.from('news'));
    plain.connection.close();
    expect((await plain.client.readToEnd()).toString()).toBe('news');
  });

  it('copies the bytes before it returns', async () => {
    const { client, connection } = await startBoth();
    for (const size of [100, 100_000]) {
      const bytes = Buffer.alloc(size, 'a');
      connection.send(bytes);
      bytes.fill('b');
      expectBytes(await client.readFrame(), Buffer.alloc(size, 'a'));
    }
  });

  it('keeps its place among the replies of a handler', async () => {
    const { client } = await startBoth({
      handler: ({ connection, body }: Request) => {
        connection.send(Buffer.from(`before ${body}`));
        return body;
      },
    });
    const asked = Array.from({ length: 100 }, (_, i) => `${i}`);
    client.send(frames(asked));
    for (const text of asked) {
      expect(await client.readText()).toBe(`before ${text}`);
      expect(await client.readText()).toBe(text);
    }
  });

  it('waits for no reply that is not given, nor for one that waits for another', async () => {
    const { client, calls, call, expectStarted } = await startPipelined(transport, 3);
    client.send(frames(['a', 'b']));
    await expectStarted('a', 'b');
    call('b').answer();
    const connection = calls.all[0]?.request.connection as Connection;
    connection.send(Buffer.from('news'));
    expect(await client.readText()).toBe('news');
    call('a').answer();
    expect(await client.readText()).toBe('a');
    expect(await client.readText()).toBe('b');
  });

  it('splits no reply, whatever comes when', async () => {
    const { client, connection, testServer } = await startBoth({
      handler: ({ body }: Request) => [body, pattern(40_000, body.readUInt8()), body],
    });
    const pushes = Array.from({ length: 50 }, (_, i) => pattern(20_000 + i, i));
    const replies = Array.from({ length: 50 }, (_, i) => i);
    client.send(frames(replies.map((i) => Buffer.from([i]))));
    for (const push of pushes) {
      connection.send(push);
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (let left = pushes.length + replies.length; left > 0; left--) {
      const got = await client.readFrame();
      const next = pushes[0];
      if (next !== undefined && got.equals(next)) pushes.shift();
      else {
        const i = replies.shift() as number;
        const body = Buffer.from([i]);
        expectBytes(got, Buffer.concat([body, pattern(40_000, i), body]));
      }
    }
    expect(testServer.errors.all).toEqual([]);
  });

  // --- How much ----------------------------------------------------------------------------------

  it('says when it is too much, and when it is no more', async () => {
    const { connection } = await startBoth();
    const mark = 65_536;
    // In one turn nothing can leave: this is all that counts.
    const bytes = Buffer.alloc(10_000);
    let given = 0;
    while (connection.send(bytes)) given += bytes.length;
    expect(given).toBeLessThan(mark);
    expect(given + bytes.length + 100).toBeGreaterThan(mark - bytes.length);
    await within(connection.drained(), 'the drain');
    expect(connection.send(Buffer.from('x'))).toBe(true);
  });

  it('is drained at once where nothing waits', async () => {
    const { connection } = await startBoth();
    await within(connection.drained(), 'the drain');
    connection.send(Buffer.from('x'));
    await within(connection.drained(), 'the drain');
  });

  it('keeps a client that does not read waiting, and loses nothing', async () => {
    const { testServer } = await startBoth({ sendHighWaterMarkBytes: 1000 });
    const client = await testServer.connect({ paused: true });
    const connection = await testServer.opened.next();
    const pushes: Buffer[] = [];
    // As much as the kernel takes, and more.
    let stuck = false;
    while (!stuck) {
      const bytes = pattern(100_000, pushes.length);
      pushes.push(bytes);
      if (connection.send(bytes)) continue;
      const patience = new Promise((resolve) => setTimeout(resolve, 200, 'stuck'));
      stuck = (await Promise.race([connection.drained(), patience])) === 'stuck';
    }
    const drained = connection.drained();
    client.startReading();
    await within(drained, 'the drain');
    for (const bytes of pushes) expectBytes(await client.readFrame(), bytes);
  });

  it('pushes from a handler for as long as the client reads', async () => {
    const { client } = await startBoth({
      sendHighWaterMarkBytes: 20_000,
      handler: async ({ connection }: Request) => {
        for (let i = 0; i < 100; i++) {
          if (!connection.send(pattern(5000, i))) await connection.drained();
        }
        return Buffer.from('done');
      },
    });
    client.send(frame('go'));
    for (let i = 0; i < 100; i++) expectBytes(await client.readFrame(), pattern(5000, i));
    expect(await client.readText()).toBe('done');
  });

  it('is ended by writeTimeoutMs, like replies', async () => {
    const { testServer } = await startBoth({
      writeTimeoutMs: 100,
      maxUnsentBytesPerConnection: Infinity,
    });
    await testServer.connect({ paused: true });
    const connection = await testServer.opened.next();
    for (let i = 0; i < 200; i++) connection.send(Buffer.alloc(100_000));
    const drained = connection.drained();
    expect(await testServer.closed.next()).toMatchObject({ code: 'WRITE_TIMEOUT' });
    await within(drained, 'the drain');
    expect(() => connection.send(Buffer.from('x'))).toThrow(closed);
  });

  // --- Ends --------------------------------------------------------------------------------------

  it('leaves before close(), of the connection and of the server', async () => {
    const one = await startBoth();
    one.connection.send(pattern(1_000_000));
    one.connection.close();
    expectBytes(await one.client.readToEnd(), frame(pattern(1_000_000)));
    const other = await startBoth();
    other.connection.send(pattern(1_000_000));
    const end = other.server.close({ timeoutMs: 5000 });
    expectBytes(await other.client.readToEnd(), frame(pattern(1_000_000)));
    await within(end, 'the end');
    expect(await other.testServer.closed.next()).toMatchObject({ code: 'SERVER_CLOSED' });
  });

  it('is refused behind a close', async () => {
    const { testServer, client, connection } = await startBoth();
    connection.close();
    expect(() => connection.send(Buffer.from('x'))).toThrow(closed);
    expect((await client.readToEnd()).length).toBe(0);
    await testServer.closed.next();
    expect(() => connection.send(Buffer.from('x'))).toThrow(closed);
    await within(connection.drained(), 'the drain');
  });

  it('is refused behind the client’s end', async () => {
    const { testServer, client, connection } = await startBoth();
    client.end();
    await testServer.closed.next();
    expect(() => connection.send(Buffer.from('x'))).toThrow(closed);
  });

  it('leaves at once from onConnect, before the greeting', async () => {
    const decide = defer<Buffer>();
    const connections = new Inbox<Connection>('a connection');
    const testServer = await startServer(transport, {
      onConnect: (connection) => {
        connection.send(Buffer.from('challenge'));
        connections.push(connection);
        return decide.promise;
      },
    });
    const client = await testServer.connect();
    expect(await client.readText()).toBe('challenge');
    decide.resolve(Buffer.from('hello'));
    expect(await client.readText()).toBe('hello');
    client.send(frame('a'));
    expect(await client.readText()).toBe('a');
  });

  // --- Mistakes ----------------------------------------------------------------------------------

  it.each(['text', 5, null, ['a']])('refuses %j', async (bytes) => {
    const { connection } = await startBoth();
    expect(() => connection.send(bytes as never)).toThrow(
      expect.objectContaining({ code: 'ERR_ODRADEK_INVALID_ARGUMENT' }),
    );
  });

  it('refuses what the framing can’t say', async () => {
    const { connection } = await startBoth({ framing: lengthPrefixed({ sizeBytes: 1 }) });
    expect(() => connection.send(Buffer.alloc(256))).toThrow(
      expect.objectContaining({ code: 'ERR_ODRADEK_REPLY_TOO_LARGE' }),
    );
  });

  it('counts as use: who is pushed to is not idle', async () => {
    const { testServer, client, connection } = await startBoth({ connectionsMaxIdleMs: 400 });
    for (let i = 0; i < 8; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      connection.send(Buffer.from(`${i}`));
      expect(await client.readText()).toBe(`${i}`);
    }
    expect(testServer.closed.all).toEqual([]);
    await until(() => testServer.closed.all.length === 1, 'its end');
    expect(testServer.closed.all[0]).toMatchObject({ code: 'IDLE_TIMEOUT' });
  });
});
