import { custom, type SentOutcome } from 'odradek';
import { describe, expect, it } from 'vitest';
import { frame, frames, pattern } from './support/bytes.js';
import type { Client } from './support/client.js';
import { expectMetrics, startServer, type TestServer } from './support/server.js';
import { isPooled, type Placement, placements } from './support/transports.js';
import { defer, Inbox } from './support/wait.js';

/** Only the rates of the test. */
const off = { connectionsMaxIdleMs: 0, frameTimeoutMs: 0, writeTimeoutMs: 0 };

/** On a server of its own: so many milliseconds have passed at least. */
async function pass(transport: Placement, ms: number): Promise<void> {
  const testServer = await startServer(transport, { ...off, connectionsMaxIdleMs: ms });
  const idler = await testServer.connect();
  expect(await idler.seeEnd()).toBe('fin');
}

/** Sends some bytes every few milliseconds until `until` settles; the rest. */
async function drip(client: Client, bytes: Buffer, step: number, until: Promise<unknown>) {
  let rest = bytes;
  const dripping = setInterval(() => {
    client.socket.write(rest.subarray(0, step));
    rest = rest.subarray(step);
  }, 5);
  await until;
  clearInterval(dripping);
  return rest;
}

/** Takes some bytes every millisecond until `until` settles. */
async function sip(client: Client, bytes: number, until: Promise<unknown>) {
  const sipping = setInterval(() => client.socket.read(bytes), 1);
  await until;
  clearInterval(sipping);
}

describe.each(placements)('minimum throughput (%s)', (transport) => {
  const start = (options: Parameters<typeof startServer>[1]): Promise<TestServer> =>
    startServer(transport, { ...off, minThroughputGraceMs: 100, ...options });

  describe('minReadBytesPerSecond', () => {
    it('gives up a frame that comes too slowly, in order', async () => {
      const testServer = await start({ minReadBytesPerSecond: 100_000 });
      const begin = performance.now();
      const client = await testServer.connect();
      client.send(frame('whole'));
      expect(await client.readText()).toBe('whole');
      await drip(client, frame(pattern(50_000)), 10, client.seeEnd());
      expect(performance.now() - begin).toBeGreaterThanOrEqual(100);
      expect(await testServer.closed.next()).toEqual({
        code: 'READ_TOO_SLOW',
        message: 'a frame came more slowly than minReadBytesPerSecond',
        unanswered: 0,
      });
      await expectMetrics(testServer.server, { readsTooSlowTotal: 1, frameTimeoutsTotal: 0 });
    });

    it('leaves alone a frame that comes at the rate, however long it takes', async () => {
      const testServer = await start({ minReadBytesPerSecond: 100 });
      const client = await testServer.connect();
      const stalled = await testServer.connect();
      const body = pattern(100_000);
      // Worth three tenths of a second.
      stalled.send(frame(body).subarray(0, 30));
      const rest = await drip(client, frame(body), 20, testServer.closed.next());
      expect(testServer.closed.all).toHaveLength(1);
      client.send(rest);
      expect(await client.readFrame()).toEqual(body);
    });

    it('waits no longer than frameTimeoutMs', async () => {
      const testServer = await start({ minReadBytesPerSecond: 10, frameTimeoutMs: 150 });
      const client = await testServer.connect();
      client.send(frame(pattern(5000)).subarray(0, 1000));
      expect(await client.seeEnd()).toBe('fin');
      expect(await testServer.closed.next()).toMatchObject({ code: 'FRAME_TIMEOUT' });
    });

    it.skipIf(isPooled(transport))('goes for custom frames, too', async () => {
      const testServer = await start({
        minReadBytesPerSecond: 100_000,
        framing: custom((bytes) => (bytes.length < 50_000 ? null : { length: 50_000 })),
      });
      const client = await testServer.connect();
      await drip(client, pattern(49_999), 10, client.seeEnd());
      expect(await testServer.closed.next()).toMatchObject({ code: 'READ_TOO_SLOW' });
      await expectMetrics(testServer.server, { readsTooSlowTotal: 1 });
    });

    it('leaves alone half a frame behind a request that is with its handler', async () => {
      const gate = defer();
      const testServer = await start({
        minReadBytesPerSecond: 1_000_000,
        handler: async ({ body }) => {
          if (body.toString() === 'slow') await gate.promise;
          return body;
        },
      });
      const client = await testServer.connect();
      const next = frame('next');
      client.send(Buffer.concat([frame('slow'), next.subarray(0, 6)]));
      await pass(transport, 300);
      client.send(next.subarray(6));
      gate.resolve();
      expect(await client.readTexts(2)).toEqual(['slow', 'next']);
    });

    it('does not count time in which there is no memory to read it', async () => {
      const gate = defer();
      const testServer = await start({
        minReadBytesPerSecond: 1_000_000,
        queuedMaxRequestBytes: 100_000,
        handler: async ({ body }) => {
          if (body.length > 1_000_000) await gate.promise;
          return body.subarray(0, 10);
        },
      });
      const holder = await testServer.connect();
      holder.send(frame(pattern(1_500_000)));
      await expectMetrics(testServer.server, { requestsInFlight: 1 });
      // More than there is: of the second, only the beginning can be read.
      const client = await testServer.connect();
      client.send(frame(pattern(500_000)));
      await expectMetrics(testServer.server, { connectionsWaitingForMemory: 1 });
      await pass(transport, 300);
      gate.resolve();
      expect(await client.readFrame()).toEqual(pattern(10));
      expect(testServer.closed.all).toHaveLength(0);
    });

    it('counts no time in which the thread is blocked', async () => {
      const testServer = await start({ minReadBytesPerSecond: 1_000_000 });
      const client = await testServer.connect();
      const body = pattern(20_000_000);
      client.send(frame(body));
      await expectMetrics(testServer.server, { connections: 1 });
      const until = performance.now() + 400;
      while (performance.now() < until);
      expect((await client.readFrame()).equals(body)).toBe(true);
    });
  });

  describe('minWriteBytesPerSecond', () => {
    const large = pattern(30_000_000);

    it('cuts off a client that takes nothing of what is sent', async () => {
      const fates = new Inbox<SentOutcome>('a fate');
      const testServer = await start({
        minWriteBytesPerSecond: 1,
        handler: (request) => {
          request.sent.then(fates.push);
          return large;
        },
      });
      const client = await testServer.connect({ paused: true });
      client.send(frames(['give', 'give']));
      expect(await testServer.closed.next()).toMatchObject({
        code: 'WRITE_TOO_SLOW',
        message: 'the client took what was sent more slowly than minWriteBytesPerSecond',
      });
      expect(await fates.next()).toEqual({ ok: false, reason: 'WRITE_TOO_SLOW' });
      await expectMetrics(testServer.server, {
        writesTooSlowTotal: 1,
        writeTimeoutsTotal: 0,
        connections: 0,
      });
    });

    it('and one that goes on taking, but too little', async () => {
      const testServer = await start({
        minWriteBytesPerSecond: 2_147_483_647,
        writeTimeoutMs: 60_000,
        handler: () => pattern(60_000_000),
      });
      const client = await testServer.connect({ paused: true });
      client.send(frame('give'));
      const closed = testServer.closed.next();
      await sip(client, 20_000, closed);
      expect(await closed).toMatchObject({ code: 'WRITE_TOO_SLOW', unanswered: 1 });
    });

    it('leaves alone a client that keeps the rate', async () => {
      const testServer = await start({
        minWriteBytesPerSecond: 1000,
        minThroughputGraceMs: 400,
        handler: () => large,
      });
      const client = await testServer.connect({ paused: true });
      client.send(frame('give'));
      const stalled = await testServer.connect({ paused: true });
      stalled.send(frame('give'));
      // So long at least it was slow.
      const closed = testServer.closed.next();
      await sip(client, 100_000, closed);
      expect(await closed).toMatchObject({ code: 'WRITE_TOO_SLOW' });
      expect(testServer.closed.all).toHaveLength(1);
    });

    it('gives no longer grace than writeTimeoutMs', async () => {
      const testServer = await start({
        minWriteBytesPerSecond: 1000,
        minThroughputGraceMs: 600_000,
        writeTimeoutMs: 100,
        handler: () => large,
      });
      const client = await testServer.connect({ paused: true });
      client.send(frame('give'));
      expect(await testServer.closed.next()).toMatchObject({ code: 'WRITE_TOO_SLOW' });
    });
  });

  it('is changed while the server runs, all of it or nothing', async () => {
    const testServer = await start({ minThroughputGraceMs: 600_000, minReadBytesPerSecond: 1 });
    const client = await testServer.connect();
    client.send(frame('half').subarray(0, 6));
    for (const wrong of [
      { minReadBytesPerSecond: -1 },
      { minReadBytesPerSecond: 0.5 },
      { minWriteBytesPerSecond: 2 ** 31 },
      { minThroughputGraceMs: 0 },
    ]) {
      const [name] = Object.keys(wrong);
      const change = { frameTimeoutMs: 20, ...wrong };
      expect(() => testServer.server.updateLimits(change)).toThrow(`${name} must be an integer`);
    }
    await pass(transport, 100);
    expect(testServer.closed.all).toHaveLength(0);
    testServer.server.updateLimits({ minReadBytesPerSecond: 1000, minThroughputGraceMs: 50 });
    expect(await client.seeEnd()).toBe('fin');
    expect(await testServer.closed.next()).toMatchObject({ code: 'READ_TOO_SLOW' });
  });
});
