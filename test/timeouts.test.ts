import { custom, delimited, noReply, replyAndClose, type SentOutcome } from 'odradek';
import { describe, expect, it } from 'vitest';
import { frame, frames, pattern } from './support/bytes.js';
import type { Client } from './support/client.js';
import { expectMetrics, startServer, type TestServer } from './support/server.js';
import { isPooled, placements } from './support/transports.js';
import { defer, Inbox, within } from './support/wait.js';

/** Off, unless the test is about it. */
const off = { connectionsMaxIdleMs: 0, frameTimeoutMs: 0, writeTimeoutMs: 0 };

/** Lets idle clients come and be closed, one after the other: so much time has passed at least. */
async function passIdleTimes(testServer: TestServer, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const idler = await testServer.connect();
    expect(await idler.seeEnd()).toBe('fin');
  }
}

/** Sends a byte now and then, until the connection ends. */
async function drip(client: Client, bytes: Buffer): Promise<void> {
  let at = 0;
  const dripping = setInterval(() => {
    if (at < bytes.length) client.socket.write(bytes.subarray(at, ++at));
  }, 10);
  await client.seeEnd();
  clearInterval(dripping);
}

describe.each(placements)('time-outs (%s)', (transport) => {
  describe('connectionsMaxIdleMs', () => {
    it('closes a connection on which nothing is under way, in order and not early', async () => {
      const testServer = await startServer(transport, { ...off, connectionsMaxIdleMs: 100 });
      const begin = performance.now();
      const client = await testServer.connect();
      expect(await client.seeEnd()).toBe('fin');
      expect(performance.now() - begin).toBeGreaterThanOrEqual(100);
      expect(await testServer.closed.next()).toEqual({
        code: 'IDLE_TIMEOUT',
        message: 'nothing was under way for connectionsMaxIdleMs',
        unanswered: 0,
      });
      await expectMetrics(testServer.server, { idleTimeoutsTotal: 1, frameTimeoutsTotal: 0 });
    });

    it('leaves alone who has a request with its handler', async () => {
      const gate = defer();
      const testServer = await startServer(transport, {
        ...off,
        connectionsMaxIdleMs: 50,
        handler: async ({ body }) => {
          await gate.promise;
          return body;
        },
      });
      const client = await testServer.connect();
      client.send(frame('slow'));
      await passIdleTimes(testServer, 4);
      gate.resolve();
      expect(await client.readText()).toBe('slow');
      expect(await client.seeEnd()).toBe('fin');
    });

    it('leaves alone who goes on', async () => {
      const testServer = await startServer(transport, { ...off, connectionsMaxIdleMs: 500 });
      const client = await testServer.connect();
      const idler = await testServer.connect();
      let isIdle = true;
      idler.seeEnd().then(() => {
        isIdle = false;
      });
      for (let i = 0; isIdle; i++) {
        client.send(frame(`${i}`));
        expect(await client.readText()).toBe(`${i}`);
      }
      client.send(frame('and on'));
      expect(await client.readText()).toBe('and on');
    });

    it('leaves alone whom onConnect has not decided on', async () => {
      const gate = defer();
      let count = 0;
      const testServer = await startServer(transport, {
        ...off,
        connectionsMaxIdleMs: 50,
        onConnect: async () => {
          if (count++ === 0) await gate.promise;
        },
      });
      const client = await testServer.connect();
      await testServer.opened.next();
      await passIdleTimes(testServer, 4);
      client.send(frame('hello'));
      gate.resolve();
      expect(await client.readText()).toBe('hello');
    });

    it('counts what came while the thread was blocked', async () => {
      const testServer = await startServer(transport, { ...off, connectionsMaxIdleMs: 100 });
      const client = await testServer.connect();
      client.send(frame('in time'));
      const until = performance.now() + 400;
      while (performance.now() < until);
      expect(await client.readText()).toBe('in time');
    });
  });

  describe('frameTimeoutMs', () => {
    it('gives up a frame that does not end, however its bytes trickle in', async () => {
      const testServer = await startServer(transport, { ...off, frameTimeoutMs: 100 });
      const client = await testServer.connect();
      client.send(frame('whole'));
      expect(await client.readText()).toBe('whole');
      await drip(client, frame(pattern(5000)));
      expect(await testServer.closed.next()).toMatchObject({
        code: 'FRAME_TIMEOUT',
        unanswered: 0,
      });
      await expectMetrics(testServer.server, { frameTimeoutsTotal: 1, idleTimeoutsTotal: 0 });
    });

    it('goes for lines, too', async () => {
      const testServer = await startServer(transport, {
        ...off,
        frameTimeoutMs: 100,
        framing: delimited('\n'),
      });
      const client = await testServer.connect();
      client.send(Buffer.from('a line\nand half of'));
      expect((await client.readToEnd()).toString()).toBe('a line\n');
      expect(await testServer.closed.next()).toMatchObject({ code: 'FRAME_TIMEOUT' });
    });

    it.skipIf(isPooled(transport))('and for custom frames', async () => {
      const testServer = await startServer(transport, {
        ...off,
        frameTimeoutMs: 100,
        framing: custom((bytes) => (bytes.length < 1000 ? null : { length: 1000 })),
      });
      const client = await testServer.connect();
      client.send(pattern(1000));
      expect(await client.read(1000)).toEqual(pattern(1000));
      await drip(client, pattern(999));
      expect(await testServer.closed.next()).toMatchObject({ code: 'FRAME_TIMEOUT' });
      await expectMetrics(testServer.server, { frameTimeoutsTotal: 1 });
    });

    it('leaves alone half a frame behind a request that is with its handler', async () => {
      const gate = defer();
      const testServer = await startServer(transport, {
        ...off,
        connectionsMaxIdleMs: 50,
        frameTimeoutMs: 50,
        handler: async ({ body }) => {
          if (body.toString() === 'slow') await gate.promise;
          return body;
        },
      });
      const client = await testServer.connect();
      const [slow, next] = [frame('slow'), frame('next')];
      client.send(Buffer.concat([slow, next.subarray(0, 6)]));
      await passIdleTimes(testServer, 4);
      client.send(next.subarray(6));
      gate.resolve();
      expect(await client.readTexts(2)).toEqual(['slow', 'next']);
    });
  });

  describe('writeTimeoutMs', () => {
    const large = pattern(30_000_000);

    it('cuts off a client that takes nothing of what is sent', async () => {
      const fates = new Inbox<SentOutcome>('a fate');
      const testServer = await startServer(transport, {
        ...off,
        writeTimeoutMs: 100,
        handler: (request) => {
          request.sent.then(fates.push);
          return large;
        },
      });
      const client = await testServer.connect({ paused: true });
      client.send(frames(['give', 'give']));
      expect(await testServer.closed.next()).toMatchObject({ code: 'WRITE_TIMEOUT' });
      expect(await fates.next()).toEqual({ ok: false, reason: 'WRITE_TIMEOUT' });
      await expectMetrics(testServer.server, { writeTimeoutsTotal: 1, connections: 0 });
    });

    it('leaves alone a client that takes its time', async () => {
      const testServer = await startServer(transport, {
        ...off,
        writeTimeoutMs: 500,
        handler: () => large,
      });
      const client = await testServer.connect({ paused: true });
      client.send(frame('give'));
      const slow = setInterval(() => client.socket.read(100_000), 1);
      const stalled = await testServer.connect({ paused: true });
      stalled.send(frame('give'));
      // So long at least it was slow.
      expect(await testServer.closed.next()).toMatchObject({ code: 'WRITE_TIMEOUT' });
      clearInterval(slow);
      expect(testServer.closed.all).toHaveLength(1);
    });

    it('ends a connection that closes and whose client takes nothing', async () => {
      const testServer = await startServer(transport, {
        ...off,
        writeTimeoutMs: 100,
        handler: () => replyAndClose(large),
      });
      const client = await testServer.connect({ paused: true });
      client.send(frame('give'));
      expect(await testServer.closed.next()).toMatchObject({ code: 'CLOSED_BY_HANDLER' });
    });
  });

  it('are all off with 0', async () => {
    const testServer = await startServer(transport, { ...off, handler: () => noReply });
    const client = await testServer.connect();
    client.send(frame('x').subarray(0, 3));
    const other = await startServer(transport, { ...off, connectionsMaxIdleMs: 50 });
    await passIdleTimes(other, 3);
    expect(testServer.closed.all).toHaveLength(0);
    client.send(frame('x').subarray(3));
    await within(expectMetrics(testServer.server, { requestsTotal: 1 }), 'the request');
  });
});
