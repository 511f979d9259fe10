import { noReply, type Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames } from './support/bytes.js';
import { startPipelined } from './support/handlers.js';
import { expectMetrics, startServer } from './support/server.js';
import { isPooled, placements } from './support/transports.js';
import { defer, Inbox, until, within } from './support/wait.js';

const hourMs = 3_600_000;

/** Node's timers may be early by less than this, as they round. */
const roundingMs = 2;

describe.each(placements)('request.throttle() (%s)', (transport) => {
  /** Handles by text, and notes when each request was begun. */
  async function startNoting(handle: (request: Request, text: string) => unknown, options = {}) {
    const begun = new Map<string, number>();
    const testServer = await startServer(transport, {
      handler: ((request: Request) => {
        const text = request.body.toString();
        begun.set(text, performance.now());
        return handle(request, text) ?? request.body;
      }) as never,
      ...options,
    });
    const between = (one: string, other: string): number =>
      (begun.get(other) ?? Number.NaN) - (begun.get(one) ?? Number.NaN);
    return { testServer, server: testServer.server, begun, between };
  }

  it('lets the answer leave at once, and the next request wait', async () => {
    const { testServer, server, begun, between } = await startNoting((request, text) => {
      if (text === 'a') request.throttle(200);
    });
    const client = await testServer.connect();
    // One that comes with it, and one that comes later.
    client.send(frames(['a', 'b']));
    expect(await client.readText()).toBe('a');
    expect(begun.has('b')).toBe(false);
    await expectMetrics(server, { connectionsThrottled: 1, requestsThrottledTotal: 1 });
    client.send(frame('c'));
    expect(await client.readText()).toBe('b');
    expect(await client.readText()).toBe('c');
    expect(between('a', 'b')).toBeGreaterThan(200 - roundingMs);
    await expectMetrics(server, { connectionsThrottled: 0, requestsThrottledTotal: 1 });
  });

  it('counts from the call: an answer behind the end goes on at once', async () => {
    const answer = defer<Buffer>();
    const { testServer, server } = await startNoting((request, text) => {
      if (text !== 'a') return undefined;
      request.throttle(20);
      return answer.promise;
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    await expectMetrics(server, { requestsThrottledTotal: 1 });
    await expectMetrics(server, { connectionsThrottled: 0 });
    answer.resolve(Buffer.from('late'));
    expect(await client.readText()).toBe('late');
    expect(await client.readText()).toBe('b');
  });

  it('goes for a request without a reply, too', async () => {
    const { testServer, between } = await startNoting((request, text) => {
      if (text !== 'a') return undefined;
      request.throttle(100);
      return noReply;
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    expect(await client.readText()).toBe('b');
    expect(between('a', 'b')).toBeGreaterThan(100 - roundingMs);
  });

  it('ends with the latest of several', async () => {
    const { testServer, server, between } = await startNoting((request, text) => {
      if (text !== 'a') return undefined;
      request.throttle(50);
      request.throttle(200);
      request.throttle(1);
      return undefined;
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    expect(await client.readText()).toBe('a');
    expect(await client.readText()).toBe('b');
    expect(between('a', 'b')).toBeGreaterThan(200 - roundingMs);
    await expectMetrics(server, { connectionsThrottled: 0, requestsThrottledTotal: 3 });
  });

  it('holds up no other client', async () => {
    const { testServer } = await startNoting((request, text) => {
      if (text === 'a') request.throttle(hourMs);
    });
    // More than a handler thread has room for, were it to keep what waits.
    const throttled = await Promise.all(Array.from({ length: 80 }, () => testServer.connect()));
    for (const client of throttled) client.send(frames(['a', ...Array(70).fill('b')]));
    for (const client of throttled) expect(await client.readText()).toBe('a');
    const other = await testServer.connect();
    for (let i = 0; i < 20; i++) {
      other.send(frame(`other ${i}`));
      expect(await other.readText()).toBe(`other ${i}`);
    }
  });

  it('takes 0 for nothing', async () => {
    const { testServer, server } = await startNoting((request) => {
      request.throttle(0);
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    expect(await client.readText()).toBe('a');
    expect(await client.readText()).toBe('b');
    expect(server.metrics().requestsThrottledTotal).toBe(0);
  });

  it.each([-1, Number.NaN, Infinity, 2 ** 31, '5', undefined])('refuses %s', async (ms) => {
    const errors = new Inbox<unknown>('an error');
    const { testServer } = await startNoting((request) => {
      try {
        request.throttle(ms as number);
      } catch (error) {
        errors.push(error);
      }
    });
    const client = await testServer.connect();
    client.send(frame('a'));
    expect(await client.readText()).toBe('a');
    expect(await errors.next()).toMatchObject({
      code: 'ERR_ODRADEK_INVALID_ARGUMENT',
      message: expect.stringContaining('from 0 to 2147483647'),
    });
  });

  it('is refused behind the answer', async () => {
    const requests = new Inbox<Request>('a request');
    const { testServer } = await startNoting((request) => {
      requests.push(request);
    });
    const client = await testServer.connect();
    client.send(frame('a'));
    expect(await client.readText()).toBe('a');
    const request = await requests.next();
    expect(() => request.throttle(1)).toThrow(
      expect.objectContaining({ code: 'ERR_ODRADEK_ALREADY_ANSWERED' }),
    );
  });

  it('starts nothing more while others are in flight, which are answered at once', async () => {
    const { testServer, client, call, expectStarted } = await startPipelined(transport, 3);
    client.send(frames(['a', 'b']));
    await expectStarted('a', 'b');
    call('a').request.throttle(hourMs);
    await expectMetrics(testServer.server, { connectionsThrottled: 1 });
    client.send(frames(['c', 'd']));
    call('a').answer();
    expect(await client.readText()).toBe('a');
    call('b').answer();
    expect(await client.readText()).toBe('b');
    const other = await testServer.connect();
    other.send(frame('other'));
    await expectStarted('a', 'b', 'other');
  });

  // --- Clocks ------------------------------------------------------------------------------------

  it('stops the clocks of a client that the server does not read', async () => {
    const { testServer, between } = await startNoting(
      (request, text) => {
        if (text === 'a') request.throttle(400);
      },
      { connectionsMaxIdleMs: 60, frameTimeoutMs: 60 },
    );
    const client = await testServer.connect();
    client.send(frame('a'));
    expect(await client.readText()).toBe('a');
    const whole = frame('b');
    client.send(whole.subarray(0, 3));
    // The rest is there when the server reads on.
    client.send(whole.subarray(3));
    expect(await client.readText()).toBe('b');
    expect(between('a', 'b')).toBeGreaterThan(400 - roundingMs);
    expect(await testServer.closed.next()).toMatchObject({ code: 'IDLE_TIMEOUT' });
  });

  // --- Ends --------------------------------------------------------------------------------------

  it('is ended by close(), which answers what was received', async () => {
    const { testServer, server } = await startNoting((request, text) => {
      if (text === 'a') request.throttle(hourMs);
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b', 'c']));
    expect(await client.readText()).toBe('a');
    await expectMetrics(server, { connectionsThrottled: 1, requestsTotal: 3 });
    const summary = await within(server.close({ timeoutMs: 5000 }), 'the end', 4000);
    expect(summary).toMatchObject({ cut: 0 });
    expectBytes(await client.readToEnd(), frames(['b', 'c']));
    expect(await testServer.closed.next()).toMatchObject({ code: 'SERVER_CLOSED', unanswered: 0 });
  });

  it('holds up no close() that has begun', async () => {
    const requests = new Inbox<Request>('a request');
    const answer = defer<Buffer>();
    const { testServer, server } = await startNoting((request, text) => {
      if (text !== 'a') return undefined;
      requests.push(request);
      return answer.promise;
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    const request = await requests.next();
    const end = server.close({ timeoutMs: 5000 });
    request.throttle(hourMs);
    answer.resolve(Buffer.from('A'));
    expect(await within(end, 'the end', 4000)).toMatchObject({ cut: 0 });
    const replies = (await client.readToEnd()).toString('latin1');
    // Whether the second was received before the end is a matter of luck.
    expect([frame('A'), frames(['A', 'b'])].map((bytes) => bytes.toString('latin1'))).toContain(
      replies,
    );
  });

  it('is ended with the connection', async () => {
    const requests = new Inbox<Request>('a request');
    const { testServer, server } = await startNoting((request, text) => {
      if (text !== 'a') return undefined;
      request.throttle(hourMs);
      requests.push(request);
      return undefined;
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b', 'c']));
    expect(await client.readText()).toBe('a');
    await expectMetrics(server, { connectionsThrottled: 1, requestsTotal: 3 });
    (await requests.next()).connection.close();
    expect((await client.readToEnd()).length).toBe(0);
    expect(await testServer.closed.next()).toMatchObject({
      code: 'CLOSED_BY_SERVICE',
      unanswered: 2,
    });
    await expectMetrics(server, { connectionsThrottled: 0, pendingRequests: 0 });
  });

  it('is as good from onHandlerError, for what was not read', async () => {
    let asked = 0;
    const { testServer, server, begun } = await startNoting(
      (_request, text) => {
        if (text === 'a') throw new Error('no');
      },
      {
        onHandlerError: (_error: unknown, request: Request) => {
          asked++;
          request.throttle(hourMs);
          return Buffer.from('sorry');
        },
      },
    );
    const client = await testServer.connect();
    client.send(frame('a'));
    expect(await client.readText()).toBe('sorry');
    await expectMetrics(server, { connectionsThrottled: 1 });
    client.send(frame('b'));
    const other = await testServer.connect();
    other.send(frame('other'));
    expect(await other.readText()).toBe('other');
    expect(begun.has('b')).toBe(false);
    expect(asked).toBe(1);
  });
});

describe.each(placements.filter((placement) => !isPooled(placement)))(
  'a throttle and a change of framing (%s)',
  (transport) => {
    it('cuts what follows by the new framing, when it has ended', async () => {
      const { lengthPrefixed } = await import('odradek');
      const bodies: string[] = [];
      const testServer = await startServer(transport, {
        handler: (request) => {
          bodies.push(request.body.toString());
          if (bodies.length > 1) return request.body;
          request.throttle(50);
          request.connection.setFraming(lengthPrefixed({ sizeBytes: 2 }));
          return request.body;
        },
      });
      const client = await testServer.connect();
      client.send(Buffer.concat([frame('a'), Buffer.from([0, 1]), Buffer.from('b')]));
      expect(await client.readText()).toBe('a');
      await until(() => bodies.length === 2, 'the second request');
      expect(bodies).toEqual(['a', 'b']);
    });
  },
);
