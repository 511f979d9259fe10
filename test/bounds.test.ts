import { noReply, raw } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, numbered, pattern } from './support/bytes.js';
import { connectMany } from './support/handlers.js';
import { expectMetrics, startServer } from './support/server.js';
import { isPooled, placements } from './support/transports.js';
import { defer, nextTurn, settles, until, within } from './support/wait.js';

describe.each(placements)('bounds (%s)', (transport) => {
  describe('a client that does not read', () => {
    it('gets every byte when it reads at last, and holds up nobody', async () => {
      const testServer = await startServer(transport);
      const slow = await testServer.connect({ paused: true });
      const payloads = Array.from({ length: 40 }, (_, i) => pattern(500_000, i));
      slow.send(frames(payloads));
      const other = await testServer.connect();
      for (let i = 0; i < 100; i++) {
        other.send(frame(`quick ${i}`));
        expect(await other.readText()).toBe(`quick ${i}`);
      }
      slow.startReading();
      for (const payload of payloads) expectBytes(await slow.readFrame(), payload);
    });

    it('gets every byte of many small replies too, which share memory with those of others', async () => {
      const reply = (number: number): Buffer => pattern(1000, number);
      const testServer = await startServer(transport, {
        networkThreads: 1,
        handler: ({ body }) => reply(body.readUInt32BE()),
      });
      const { server } = testServer;
      const slow = await testServer.connect({ paused: true });
      slow.send(frames(numbered(20_000)));
      await until(() => server.metrics().requestsTotal > 0, 'the first request');
      await settles(() => server.metrics().requestsTotal);
      expect(server.metrics().responsesTotal).toBeLessThan(20_000);
      const other = await testServer.connect();
      for (const payload of numbered(300)) {
        other.send(frame(payload));
        expectBytes(await other.readFrame(), reply(payload.readUInt32BE()));
      }
      slow.startReading();
      for (let i = 0; i < 20_000; i++) expectBytes(await slow.readFrame(), reply(i));
    });

    it('gets a reply that had to wait while others used up and renewed the memory', async () => {
      const late = defer<Buffer>();
      const testServer = await startServer(transport, {
        networkThreads: 1,
        handler: ({ body }) => {
          if (body.toString() === 'large') return pattern(8_000_000);
          return body.toString() === 'late' ? late.promise : pattern(1000, body.readUInt32BE());
        },
      });
      const { server } = testServer;
      const slow = await testServer.connect({ paused: true });
      slow.send(frames(['large', 'late']));
      await until(() => server.metrics().pendingRequests === 1, 'the second request');
      const other = await testServer.connect();
      const others = async (): Promise<void> => {
        for (const payload of numbered(200)) {
          other.send(frame(payload));
          expectBytes(await other.readFrame(), pattern(1000, payload.readUInt32BE()));
        }
      };
      await others();
      late.resolve(pattern(5000, 77));
      await others();
      slow.startReading();
      expectBytes(await slow.readFrame(), pattern(8_000_000));
      expectBytes(await slow.readFrame(), pattern(5000, 77));
    });

    it('gets replies that were given while an earlier one was under way', async () => {
      const outcomes: unknown[] = [];
      const testServer = await startServer(transport, {
        handler: async ({ body, sent }) => {
          void sent.then((outcome) => outcomes.push(outcome));
          await nextTurn();
          return pattern(body.length === 1 ? 6_000_000 : 600, body.length);
        },
      });
      const { server } = testServer;
      const slow = await testServer.connect({ paused: true });
      slow.send(frames(['1', '22', '333', '4']));
      // Nothing more is asked of a handler, though the first reply has not left.
      await until(() => server.metrics().pendingRequests === 0, 'every answer');
      await settles(() => server.metrics().bytesWrittenTotal);
      expect(server.metrics().responsesTotal).toBe(0);
      expect(outcomes).toEqual([]);
      slow.startReading();
      for (const [length, seed] of [
        [6_000_000, 1],
        [600, 2],
        [600, 3],
        [6_000_000, 1],
      ] as const) {
        expectBytes(await slow.readFrame(), pattern(length, seed));
      }
      await until(() => outcomes.length === 4, 'every outcome');
      expect(outcomes).toEqual([{ ok: true }, { ok: true }, { ok: true }, { ok: true }]);
      await expectMetrics(server, { responsesTotal: 4 });
    });

    it('is not read from: what it is owed stays bounded', async () => {
      const reply = pattern(1_000_000);
      const testServer = await startServer(transport, { handler: () => reply });
      const slow = await testServer.connect({ paused: true });
      const { server } = testServer;
      slow.send(frames(numbered(2000)));
      await until(() => server.metrics().requestsTotal > 0, 'the first request');
      await settles(() => server.metrics().requestsTotal);
      // One batch at most: the replies to it must leave before the next is made of its bytes.
      expect(server.metrics().requestsTotal).toBeLessThanOrEqual(64);
      slow.startReading();
      for (let i = 0; i < 100; i++) expectBytes(await slow.readFrame(), reply);
    });
  });

  it('reads no more of a connection whose request is not answered', async () => {
    const parked = defer<Buffer>();
    const bodies: Buffer[] = [];
    const testServer = await startServer(transport, {
      handler: ({ body }) => {
        bodies.push(body);
        return bodies.length === 1 ? parked.promise : body.subarray(0, 4);
      },
    });
    const client = await testServer.connect();
    const { server } = testServer;
    client.send(frame('park'));
    await until(() => bodies.length === 1, 'the first request');
    const payloads = Array.from({ length: 1024 }, (_, i) => pattern(32_768, i));
    client.send(frames(payloads));
    await settles(() => server.metrics().bytesReadTotal);
    // 32 MiB were sent. What was read is a few reads at most, the rest waits in the kernel.
    expect(server.metrics().bytesReadTotal).toBeLessThan(1_048_576);
    expect(bodies).toHaveLength(1);
    parked.resolve(Buffer.from('go on'));
    expect(await client.readText()).toBe('go on');
    for (const payload of payloads) expectBytes(await client.readFrame(), payload.subarray(0, 4));
    expect(bodies).toHaveLength(1025);
  });

  it('lets timers and other connections have their turns under a flood', async () => {
    const testServer = await startServer(transport, { framing: raw(), handler: () => noReply });
    const flood = await testServer.connect();
    const stops = Array.from({ length: 4 }, () => flood.pour(Buffer.alloc(1_048_576)));
    const other = await testServer.connect();
    const { server } = testServer;
    for (let i = 0; i < 20; i++) {
      const before = server.metrics().requestsTotal;
      other.send(Buffer.of(i));
      await new Promise((resolve) => setTimeout(resolve, 1));
      await until(() => server.metrics().requestsTotal > before, 'progress');
    }
    for (const stop of stops) stop();
    other.end();
    expect(await other.readToEnd()).toHaveLength(0);
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED' });
  });

  it('hands a long line of pipelined requests over in turns', async () => {
    let timers = 0;
    const testServer = await startServer(transport);
    const client = await testServer.connect();
    // A closure's pool answers one after the other, each by three messages.
    const sent = frames(numbered(isPooled(transport) ? 2_000 : 50_000));
    const ticking = setInterval(() => timers++, 0);
    client.send(sent);
    expectBytes(await client.read(sent.length), sent);
    clearInterval(ticking);
    expect(timers).toBeGreaterThan(1);
  });

  it('echoes many large frames of many connections at once', async () => {
    const testServer = await startServer(transport);
    const clients = await connectMany(testServer, 8);
    const work = clients.map(async (client, i) => {
      for (let round = 0; round < 5; round++) {
        const payload = pattern(1_000_000 + i, round);
        client.send(frame(payload));
        expectBytes(await client.readFrame(), payload);
      }
    });
    await within(Promise.all(work), 'every echo');
  });

  it('serves hundreds of connections at once', async () => {
    const testServer = await startServer(transport, {
      handler: async ({ body }) => {
        await nextTurn();
        return body;
      },
    });
    const clients = await connectMany(testServer, 300);
    const sent = frames(numbered(20));
    for (const client of clients) client.send(sent);
    for (const client of clients) expectBytes(await client.read(sent.length), sent);
    expect(testServer.server.metrics().connections).toBe(300);
    for (const client of clients) client.end();
    await until(() => testServer.server.metrics().connections === 0, 'every end');
  });
});
