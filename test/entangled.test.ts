import { delimited, lengthPrefixed, raw, replyAndClose } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, pattern } from './support/bytes.js';
import { startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { defer, nextTurn, reaches, until, within } from './support/wait.js';

/** Several things that happen to one connection at once: each once hung it, or lost something. */
describe.each(placements)('entangled (%s)', (transport) => {
  it('close() with requests waiting behind the one in work', async () => {
    const answer = defer<Buffer>();
    const testServer = await startServer(transport, { handler: () => answer.promise });
    const [client, connection] = await testServer.connectBoth();
    client.send(frames(['a', 'b', 'c']));
    await until(() => testServer.server.metrics().requestsTotal === 3, 'the requests');
    await until(() => testServer.server.metrics().requestsInFlight === 1, 'the first');
    connection.close('kicked');
    await client.seeEnd();
    answer.resolve(Buffer.from('too late'));
    expect(await testServer.closed.next()).toMatchObject({
      code: 'CLOSED_BY_SERVICE',
      unanswered: 3,
    });
    const begin = performance.now();
    await testServer.server.close({ timeoutMs: 20_000 });
    expect(performance.now() - begin).toBeLessThan(10_000);
  });

  it('setFraming() after the client has reset', async () => {
    const gone = defer<void>();
    const testServer = await startServer(transport, {
      handler: async (request) => {
        await gone.promise;
        request.connection.setFraming(delimited('\n'));
        return request.body;
      },
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b', 'c']));
    await until(() => testServer.server.metrics().requestsInFlight === 1, 'the first');
    await until(() => testServer.server.metrics().requestsTotal === 3, 'the others');
    client.reset();
    for (let i = 0; i < 20; i++) await nextTurn();
    gone.resolve();
    expect((await testServer.closed.next()).code).toBe('PEER_RESET');
  });

  it('setFraming() and replyAndClose() with more pipelined than crosses at once', async () => {
    for (let i = 0; i < 10; i++) {
      const testServer = await startServer(transport, {
        handler: (request) => {
          request.connection.setFraming(raw());
          return replyAndClose('bye'.split('').map((letter) => Buffer.from(letter)));
        },
      });
      const client = await testServer.connect();
      client.send(frames(Array.from({ length: 20 }, () => pattern(10_000))));
      expectBytes(await within(client.readToEnd(), 'the end'), frame('bye'));
      await testServer.stop();
    }
  });

  it('setFraming() before many bytes that break the old framing, after a large frame', async () => {
    const lines: string[] = [];
    const testServer = await startServer(transport, {
      handler: (request) => {
        const text = request.body.toString('latin1');
        if (text === 'upgrade') request.connection.setFraming(delimited('\n'));
        if (text.startsWith('line')) lines.push(text);
        return Buffer.from('ok');
      },
    });
    const client = await testServer.connect();
    client.send(frame(Buffer.alloc(20_000, 'x')));
    expectBytes(await client.readFrame(), Buffer.from('ok'));
    const expected = Array.from({ length: 5000 }, (_, i) => `line ${i}`);
    client.send(Buffer.concat([frame('upgrade'), Buffer.from(`${expected.join('\n')}\n`)]));
    await reaches(() => lines.length, expected.length, 'lines');
    expect(lines).toEqual(expected);
  });

  it('setFraming() at the bound of pending requests', async () => {
    const testServer = await startServer(transport, {
      maxPendingRequests: 1,
      handler: (request) => {
        if (request.body.toString() === 'go') {
          request.connection.setFraming(lengthPrefixed({ sizeBytes: 2 }));
        }
        return request.body;
      },
    });
    const client = await testServer.connect();
    const short = Buffer.from([0, 1, 97, 0, 1, 98]);
    client.send(Buffer.concat([frame('go'), short]));
    expectBytes(await client.read(6 + short.length), Buffer.concat([frame('go'), short]));
    const other = await testServer.connect();
    other.send(frame('go'));
    expectBytes(await other.readFrame(), Buffer.from('go'));
  });

  it('a handler whose error throws when it is looked at', async () => {
    const hostile = new Error('hostile');
    Object.defineProperty(hostile, 'stack', {
      get: () => {
        throw new Error('looked at');
      },
    });
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const thrown: unknown[] = [hostile, proxy];
    const testServer = await startServer(transport, {
      onHandlerError: () => undefined,
      handler: (request) => {
        if (request.body.length === 0) throw thrown.shift();
        return request.body;
      },
    });
    for (let i = 0; i < 2; i++) {
      const client = await testServer.connect();
      client.send(frames(['', 'behind']));
      expect(await client.readToEnd()).toHaveLength(0);
      expect((await testServer.closed.next()).code).toBe('HANDLER_ERROR');
    }
    const client = await testServer.connect();
    client.send(frame('still there'));
    expect(await client.readText()).toBe('still there');
  });

  it('an onDisconnect that rejects', async () => {
    const testServer = await startServer(transport, {
      onDisconnect: async () => {
        await nextTurn();
        throw new Error('in onDisconnect');
      },
    });
    const client = await testServer.connect();
    client.end();
    expect(await testServer.errors.next()).toMatchObject({
      error: { message: 'in onDisconnect' },
      request: null,
    });
  });

  it('sent, where a handler fails or closes instead of answering', async () => {
    const outcomes: unknown[] = [];
    const testServer = await startServer(transport, {
      onHandlerError: () => undefined,
      handler: (request) => {
        void request.sent.then((outcome) => outcomes.push(outcome));
        throw new Error('failed');
      },
    });
    const client = await testServer.connect();
    client.send(frame('a'));
    await client.seeEnd();
    await until(() => outcomes.length === 1, 'the outcome');
    expect(outcomes).toEqual([{ ok: false, reason: 'HANDLER_ERROR' }]);
  });

  it('a body whose buffer was transferred away', async () => {
    const testServer = await startServer(transport, {
      handler: (request) => {
        if (request.body.toString() === 'take') {
          try {
            structuredClone(request.body.buffer, {
              transfer: [request.body.buffer as ArrayBuffer],
            });
          } catch {
            // Marked as untransferable: the usual case.
          }
        }
        return Buffer.from('ok');
      },
    });
    for (let i = 0; i < 3; i++) {
      const client = await testServer.connect();
      client.send(frames(['take']));
      expect(await client.readText()).toBe('ok');
    }
  });
});
