import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, pattern } from './support/bytes.js';
import { connectMany, startPipelined } from './support/handlers.js';
import { expectMetrics, startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { defer, Inbox, until, within } from './support/wait.js';

/** A server whose requests the test answers, by their first byte and only that. */
async function startHeld(placement: (typeof placements)[number], options: object) {
  const calls = new Inbox<{ text: string; answer(): void }>('a request');
  const testServer = await startServer(placement, {
    ...options,
    handler: ({ body }) => {
      const reply = defer<Buffer>();
      const first = body.subarray(0, 1);
      calls.push({ text: first.toString(), answer: () => reply.resolve(Buffer.from(first)) });
      return reply.promise;
    },
  });
  return { testServer, server: testServer.server, calls };
}

const request = (letter: string, bytes: number) => frame(Buffer.alloc(bytes, letter));

/** A server whose memory one request has, and another waits for it. */
async function startFull(placement: (typeof placements)[number]) {
  const { testServer, server, calls } = await startHeld(placement, { queuedMaxRequestBytes: 1000 });
  const [first, second] = await connectMany(testServer, 2);
  first?.send(request('a', 996));
  const a = await calls.next();
  second?.send(request('b', 996));
  await until(() => server.metrics().connectionsWaitingForMemory === 1, 'one that waits');
  return { server, calls, first, second, a };
}

describe.each(placements)('queuedMaxRequestBytes (%s)', (transport) => {
  it('leaves connections unread while requests have all of it, and goes on as they are answered', async () => {
    const { testServer, server, calls } = await startHeld(transport, {
      queuedMaxRequestBytes: 1000,
    });
    const clients = await connectMany(testServer, 3);
    clients[0]?.send(request('a', 996));
    const a = await calls.next();
    await expectMetrics(server, { memoryPoolUsed: 1000, memoryPoolAvailable: 0 });
    clients[1]?.send(request('b', 996));
    clients[2]?.send(request('c', 996));
    await until(() => server.metrics().connectionsWaitingForMemory === 2, 'two that wait');
    expect(server.metrics().requestsTotal).toBe(1);
    a.answer();
    expect(await clients[0]?.readText()).toBe('a');
    const next = await calls.next();
    next.answer();
    const last = await calls.next();
    expect([next.text, last.text].sort()).toEqual(['b', 'c']);
    last.answer();
    expect(await clients[1]?.readText()).toBe('b');
    expect(await clients[2]?.readText()).toBe('c');
    await expectMetrics(server, { memoryPoolUsed: 0, connectionsWaitingForMemory: 0 });
    expect(server.metrics().memoryPoolDepletedMs).toBeGreaterThan(0);
  });

  it('lets frames pass that are larger than all of it, one after the other', async () => {
    const testServer = await startServer(transport, { queuedMaxRequestBytes: 1000 });
    const clients = await connectMany(testServer, 5);
    const body = pattern(300_000);
    const whole = frame(body);
    for (const client of clients) client.send(whole.subarray(0, 150_000));
    for (const client of clients) client.send(whole.subarray(150_000));
    for (const client of clients) expectBytes(await client.readFrame(), body);
  });

  it('has back what was received in part of a connection that is gone', async () => {
    const testServer = await startServer(transport, { queuedMaxRequestBytes: 1000 });
    const [gone, client] = await connectMany(testServer, 2);
    gone?.send(request('a', 5000).subarray(0, 1500));
    await until(() => testServer.server.metrics().memoryPoolUsed >= 1000, 'its part');
    client?.send(frame('hello'));
    gone?.reset();
    expect(await client?.readText()).toBe('hello');
    await expectMetrics(testServer.server, { memoryPoolUsed: 0 });
  });

  it('lets another part of a frame go on where one stalls', async () => {
    const { testServer, server, calls } = await startHeld(transport, {
      queuedMaxRequestBytes: 1000,
    });
    const [stalled, client] = await connectMany(testServer, 2);
    client?.send(request('b', 3000).subarray(0, 100));
    await expectMetrics(server, { memoryPoolUsed: 100 });
    stalled?.send(request('a', 3000).subarray(0, 2000));
    await expectMetrics(server, { memoryPoolUsed: 2100 });
    client?.send(request('b', 3000).subarray(100));
    (await calls.next()).answer();
    expect(await client?.readText()).toBe('b');
  });

  it('counts each of several in flight until its own end', async () => {
    const { testServer, client, calls } = await startPipelined(transport, 4, {
      queuedMaxRequestBytes: 10_000,
    });
    client.send(frames(['a'.repeat(996), 'b'.repeat(96), 'c'.repeat(496)]));
    const taken = [await calls.next(), await calls.next(), await calls.next()];
    await expectMetrics(testServer.server, { memoryPoolUsed: 1600 });
    taken[0]?.answer();
    await expectMetrics(testServer.server, { memoryPoolUsed: 600 });
    taken[2]?.answer();
    taken[1]?.answer();
    await expectMetrics(testServer.server, { memoryPoolUsed: 0 });
  });

  it('may be changed while the server runs', async () => {
    const { server, calls, first, second, a } = await startFull(transport);
    server.updateLimits({ queuedMaxRequestBytes: Infinity });
    const b = await calls.next();
    expect(b.text).toBe('b');
    expect(server.metrics().memoryPoolAvailable).toBe(Infinity);
    a.answer();
    b.answer();
    expect(await first?.readText()).toBe('a');
    expect(await second?.readText()).toBe('b');
  });

  it('is no obstacle to close()', async () => {
    const { server, first, a } = await startFull(transport);
    const closing = server.close();
    a.answer();
    expect(await within(closing, 'the end')).toEqual({ completed: 1, cut: 0 });
    expect(await first?.readText()).toBe('a');
  });
});
