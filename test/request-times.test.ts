import {
  closeConnection,
  custom,
  noReply,
  type RequestTimes,
  type SocketServer,
  type TimeSummary,
} from 'odradek';
import { describe, expect, it, vi } from 'vitest';
import { frame, frames } from './support/bytes.js';
import { poolTransports, startPool } from './support/pool.js';
import { expectMetrics, startServer } from './support/server.js';
import { isPooled, placements } from './support/transports.js';
import { defer, patienceMs, until } from './support/wait.js';

/** Node's timers may be early by less than this, as they round. */
const roundingMs = 2;

/** By how much the clocks of two threads may be apart, for each time. */
const clocksMs = 0.05;

const names = [
  'requestQueue',
  'local',
  'remote',
  'throttle',
  'responseQueue',
  'responseSend',
  'total',
] as const satisfies (keyof RequestTimes)[];

type Counts = Partial<Record<keyof RequestTimes, number>>;

/** Waits until the times have counted so many; none that isn't named. What they say then. */
async function timesOf<State>(server: SocketServer<State>, counts: Counts): Promise<RequestTimes> {
  const expected = Object.fromEntries(names.map((name) => [name, counts[name] ?? 0]));
  return await vi.waitFor(
    () => {
      const { requestTimes } = server.metrics();
      const counted = names.map((name) => [name, requestTimes[name].count]);
      expect(Object.fromEntries(counted)).toEqual(expected);
      return requestTimes;
    },
    { timeout: patienceMs, interval: 1 },
  );
}

/** So many answered requests. */
function answered(count: number): Counts {
  return {
    requestQueue: count,
    local: count,
    responseQueue: count,
    responseSend: count,
    total: count,
  };
}

function later(ms: number): Promise<Buffer> {
  return new Promise((resolve) => setTimeout(() => resolve(Buffer.from('later')), ms));
}

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

function sumOf({ requestQueue, local, remote, responseQueue, responseSend }: RequestTimes): number {
  return requestQueue.sumMs + local.sumMs + remote.sumMs + responseQueue.sumMs + responseSend.sumMs;
}

describe.each(placements)('the times of requests (%s)', (transport) => {
  it('count each that was answered once, and their parts are no more than the whole', async () => {
    const { server, connect } = await started(transport);
    const [one, two] = [await connect(), await connect()];
    one.send(frames(Array.from({ length: 100 }, (_, i) => `${i}`)));
    for (let i = 0; i < 10; i++) {
      two.send(frame(`${i}`));
      expect(await two.readText()).toBe(`${i}`);
    }
    await one.readTexts(100);
    const times = await timesOf(server, answered(110));
    await expectMetrics(server, { requestsTotal: 110, responsesTotal: 110 });
    expect(times.total.sumMs).toBeGreaterThan(0);
    expect(sumOf(times)).toBeLessThanOrEqual(times.total.sumMs + 110 * clocksMs);
  });

  it('tell what a request waited for, and how long its handler took', async () => {
    const { server, connect } = await started(transport, {
      handler: ({ body }) => {
        block(20);
        return body;
      },
    });
    const client = await connect();
    client.send(frames(['a', 'b']));
    await client.readTexts(2);
    const { requestQueue, local, total } = await timesOf(server, answered(2));
    expect(local.sumMs).toBeGreaterThanOrEqual(40);
    expect(local.maxMs).toBeGreaterThanOrEqual(20);
    // The second waited for the first.
    expect(requestQueue.sumMs).toBeGreaterThanOrEqual(20 - clocksMs);
    expect(total.maxMs).toBeGreaterThanOrEqual(40 - clocksMs);
    expect(total.sumMs).toBeGreaterThanOrEqual(60 - clocksMs);
  });

  it('tell for how long promises were awaited', async () => {
    const answer = defer<Buffer>();
    const { server, connect } = await started(transport, {
      handler: ({ body }) => (body.toString() === 'wait' ? answer.promise : body),
    });
    const client = await connect();
    client.send(frames(['wait', 'now']));
    await until(() => server.metrics().requestTimes.local.count === 1, 'its time');
    await later(30);
    answer.resolve(Buffer.from('waited'));
    await client.readTexts(2);
    const times = await timesOf(server, { ...answered(2), remote: 1 });
    expect(times.remote.sumMs).toBeGreaterThanOrEqual(30 - roundingMs);
    expect(times.requestQueue.maxMs).toBeGreaterThanOrEqual(30 - roundingMs);
    expect(times.total.maxMs).toBeGreaterThanOrEqual(30 - roundingMs);
    expect(sumOf(times)).toBeLessThanOrEqual(times.total.sumMs + 2 * clocksMs);
  });

  it('tell what throttles asked for', async () => {
    const { server, connect } = await started(transport, {
      handler: (request) => {
        request.throttle(Number(request.body));
        return request.body;
      },
    });
    const client = await connect();
    client.send(frames(['3', '0', '1.5']));
    await client.readTexts(3);
    const { throttle } = await timesOf(server, { ...answered(3), throttle: 2 });
    expect(throttle.sumMs).toBe(5);
    expect(throttle.maxMs).toBe(3);
    await expectMetrics(server, { requestsThrottledTotal: 2 });
  });

  it('count a request without a reply as answered, one that closes as not', async () => {
    const { server, connect } = await started(transport, {
      handler: ({ body }) => (body.toString() === 'none' ? noReply : closeConnection),
    });
    const client = await connect();
    client.send(frames(['none', 'close']));
    await client.seeEnd();
    await timesOf(server, { ...answered(1), requestQueue: 2, local: 2 });
    await expectMetrics(server, { responsesTotal: 1 });
  });

  it('count a failure, and its reply if there is one', async () => {
    const { server, connect } = await started(transport, {
      handler: () => {
        throw new Error('on purpose');
      },
      onHandlerError: (_error, { body }) =>
        body.toString() === 'reply' ? Buffer.from('sorry') : undefined,
    });
    const client = await connect();
    client.send(frames(['reply', 'end']));
    expect(await client.readText()).toBe('sorry');
    await client.seeEnd();
    const { total, local } = await vi.waitFor(
      () => {
        const { requestTimes } = server.metrics();
        expect(requestTimes.total.count).toBe(1);
        expect(requestTimes.local.count).toBe(2);
        return requestTimes;
      },
      { timeout: patienceMs },
    );
    expect([total.count, local.count]).toEqual([1, 2]);
  });

  it('don’t count replies that reach nobody', async () => {
    const answer = defer<Buffer>();
    const testServer = await started(transport, { handler: () => answer.promise });
    const client = await testServer.connect();
    client.send(frame('a'));
    await expectMetrics(testServer.server, { requestsInFlight: 1 });
    client.reset();
    answer.resolve(Buffer.from('b'));
    await testServer.closed.next();
    const { requestTimes, responsesTotal } = testServer.server.metrics();
    expect(requestTimes.total.count).toBe(responsesTotal);
    expect(requestTimes.responseSend.count).toBe(responsesTotal);
  });

  it('tell for how long a slow client takes its reply', async () => {
    const reply = Buffer.alloc(16 * 1024 * 1024, 'x');
    const { server, connect } = await started(transport, { handler: () => reply });
    const client = await connect({ paused: true });
    client.send(frame('a'));
    await until(() => server.metrics().requestTimes.responseQueue.count === 1, 'its time');
    const since = performance.now();
    await later(50);
    const heldMs = performance.now() - since;
    client.startReading();
    const { responseSend, total } = await timesOf(server, answered(1));
    expect(responseSend.maxMs).toBeGreaterThanOrEqual(heldMs - roundingMs);
    expect(total.maxMs).toBeGreaterThanOrEqual(responseSend.maxMs - clocksMs);
  });

  it('count the wait for earlier replies as that for the processor', async () => {
    const first = defer<Buffer>();
    const { server, connect } = await started(transport, {
      maxInFlightPerConnection: 2,
      handler: ({ body }) => (body.toString() === 'first' ? first.promise : body),
    });
    const client = await connect();
    client.send(frames(['first', 'second']));
    await until(() => server.metrics().requestTimes.local.count === 2, 'its time');
    await later(30);
    first.resolve(Buffer.from('1'));
    expect(await client.readTexts(2)).toEqual(['1', 'second']);
    const { responseQueue, remote } = await timesOf(server, { ...answered(2), remote: 1 });
    expect(responseQueue.maxMs).toBeGreaterThanOrEqual(30 - roundingMs);
    expect(remote.maxMs).toBeGreaterThanOrEqual(30 - roundingMs);
  });

  it('are plain data, with the buckets of an exporter', async () => {
    const { server, connect } = await started(transport);
    const client = await connect();
    client.send(frames(['a', 'b', 'c']));
    await client.readTexts(3);
    const { total } = await timesOf(server, answered(3));
    expect(structuredClone(total)).toEqual(total);
    expect(Object.keys(total)).toEqual([
      'count',
      'sumMs',
      'maxMs',
      'p50Ms',
      'p95Ms',
      'p99Ms',
      'p999Ms',
      'buckets',
    ]);
    expect(total.buckets.map(({ leMs }) => leMs)).toEqual([
      ...Array.from({ length: 23 }, (_, i) => 0.016 * 2 ** i),
      Infinity,
    ]);
    expectCumulative(total);
    expect(total.p50Ms).toBeLessThanOrEqual(total.p95Ms);
    expect(total.p999Ms).toBeLessThanOrEqual(total.maxMs);
  });

  it('stay when the server has closed', async () => {
    const { server, connect } = await started(transport);
    const client = await connect();
    client.send(frames(['a', 'b']));
    await client.readTexts(2);
    await server.close();
    const { requestTimes } = server.metrics();
    expect(names.map((name) => requestTimes[name].count)).toEqual([2, 2, 0, 0, 2, 2, 2]);
  });

  it.skipIf(isPooled(transport))('count frames of a custom framing, not pieces', async () => {
    const framing = custom((bytes) => {
      const end = bytes.indexOf(0x0a);
      return end < 0 ? null : { length: end + 1, bodyEnd: end };
    });
    const { server, connect } = await started(transport, {
      listeners: [{ port: 0, framing, frameReplies: false }],
      handler: ({ body }) => Buffer.concat([body, Buffer.from('\n')]),
    });
    const client = await connect();
    client.send(Buffer.from('a\nb\nc'));
    expect(String(await client.read(4))).toBe('a\nb\n');
    await timesOf(server, answered(2));
    client.send(Buffer.from('d\n'));
    expect(String(await client.read(3))).toBe('cd\n');
    await timesOf(server, answered(3));
  });
});

function expectCumulative({ buckets, count }: TimeSummary): void {
  let before = 0;
  for (const bucket of buckets) {
    expect(bucket.count).toBeGreaterThanOrEqual(before);
    before = bucket.count;
  }
  expect(before).toBe(count);
}

/** A test server whose `connect` needs no `this`. */
async function started(
  transport: (typeof placements)[number],
  options: Parameters<typeof startServer>[1] = {},
) {
  const testServer = await startServer(transport, options);
  return Object.assign(testServer, { connect: testServer.connect.bind(testServer) });
}

describe.each(poolTransports)('the times of a handler pool (%s)', (transport) => {
  it('keep what threads had counted that are gone', async () => {
    const { testServer } = await startPool(transport);
    const client = await testServer.connect();
    for (let i = 0; i < 5; i++) {
      client.send(frame('echo 1'));
      await client.readText();
    }
    await timesOf(testServer.server, answered(5));
    client.send(frame('exit 3'));
    await testServer.losses.next();
    const again = await testServer.connect();
    again.send(frame('echo 2'));
    expect(await again.readText()).toBe('echo 2');
    await timesOf(testServer.server, answered(6));
  });

  it('keep what threads had counted that were too many', async () => {
    const { testServer } = await startPool(transport, { threads: 2 });
    const client = await testServer.connect();
    client.send(frames(['echo 1', 'echo 2']));
    await client.readTexts(2);
    await testServer.server.resizeHandlerPool(1);
    await timesOf(testServer.server, answered(2));
  });

  it('tell what a request waits for where threads share its connection', async () => {
    const { testServer, shared } = await startPool(
      transport,
      { threads: 2 },
      { maxInFlightPerConnection: 2 },
    );
    const gate = shared.gate();
    const client = await testServer.connect();
    client.send(frames([`block ${gate}`, 'echo early']));
    await until(() => testServer.server.metrics().requestTimes.local.count === 1, 'its time');
    await later(20);
    shared.open(gate);
    await client.readTexts(2);
    const { responseQueue } = await timesOf(testServer.server, answered(2));
    expect(responseQueue.maxMs).toBeGreaterThanOrEqual(20 - roundingMs);
  });
});
