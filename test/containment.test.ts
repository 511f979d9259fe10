import { noReply, OdradekError, type Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { bytes, expectBytes, frame, frames, pattern } from './support/bytes.js';
import { expectSeesAnotherEnd } from './support/handlers.js';
import { expectMetrics, startServer, type TestServer } from './support/server.js';
import { thenable } from './support/thenable.js';
import { placements } from './support/transports.js';
import { defer, Inbox, nextTurn, until } from './support/wait.js';

const boom = new Error('boom');

describe.each(placements)('containment (%s)', (transport) => {
  describe('a handler', () => {
    const failures: [string, (request: Request) => unknown, RegExp][] = [
      [
        'throws',
        () => {
          throw boom;
        },
        /^boom$/,
      ],
      [
        'throws what is no error',
        () => {
          throw 'a string';
        },
        /^a string$/,
      ],
      ['rejects at once', () => Promise.reject(boom), /^boom$/],
      ['rejects later', () => nextTurn().then(() => Promise.reject(boom)), /^boom$/],
      ['returns undefined', () => undefined, /ERR_ODRADEK_INVALID_REPLY.*got undefined.*noReply/],
      ['resolves to undefined', async () => undefined, /ERR_ODRADEK_INVALID_REPLY.*got undefined/],
      ['returns null', () => null, /ERR_ODRADEK_INVALID_REPLY.*got null/],
      ['returns a string', () => 'hello', /ERR_ODRADEK_INVALID_REPLY.*got "hello"/],
      ['returns a number', () => 7, /ERR_ODRADEK_INVALID_REPLY.*got 7/],
      ['returns an object', () => ({ length: 3 }), /ERR_ODRADEK_INVALID_REPLY.*got an object/],
      [
        'returns an ArrayBuffer',
        () => new ArrayBuffer(4),
        /ERR_ODRADEK_INVALID_REPLY.*ArrayBuffer/,
      ],
      ['returns parts that are no bytes', () => [Buffer.of(1), 'x'], /ERR_ODRADEK_INVALID_REPLY/],
      ['resolves to nonsense later', () => nextTurn().then(() => 7), /ERR_ODRADEK_INVALID_REPLY/],
      ['returns a thenable that throws', () => thenable(fail), /^boom$/],
      ['returns a thenable that cannot be looked at', () => untouchable(), /^boom$/],
    ];

    it.each(failures)('that %s ends its connection', async (_name, handler, message) => {
      const testServer = await startServer(transport, failing(handler));
      const [client, other] = [await testServer.connect(), await testServer.connect()];
      client.send(frames(['fine', 'fail', 'never started']));
      expectBytes(await client.readToEnd(), frame('fine'));
      expect(await testServer.closed.next()).toMatchObject({
        code: 'HANDLER_ERROR',
        unanswered: 2,
      });
      const { error, request } = await testServer.errors.next();
      expect(
        error instanceof OdradekError ? `${error.code} ${error.message}` : text(error),
      ).toMatch(message);
      expect(request?.body.toString()).toBe('fail');
      await expectServes(other);
      expect(testServer.errors.all).toHaveLength(1);
      await expectMetrics(testServer.server, {
        handlerErrorsTotal: 1,
        requestsInFlight: 0,
        pendingRequests: 0,
      });
    });

    it.each(failures)('that %s can be answered by onHandlerError', async (_name, handler) => {
      const errors: [unknown, string][] = [];
      const testServer = await startServer(transport, {
        ...failing(handler),
        onHandlerError: (error, request) => {
          errors.push([error, request.body.toString()]);
          return Buffer.from('sorry');
        },
      });
      const client = await testServer.connect();
      client.send(frames(['a', 'fail', 'b', 'fail', 'c']));
      expect(await client.readTexts(5)).toEqual(['a', 'sorry', 'b', 'sorry', 'c']);
      expect(errors.map(([, body]) => body)).toEqual(['fail', 'fail']);
      expect(testServer.closed.all).toHaveLength(0);
    });

    it('that never settles holds up its own connection alone, and nothing forever', async () => {
      const never = new Promise<Buffer>(() => undefined);
      const testServer = await startServer(
        transport,
        failing(() => never),
      );
      const [client, other] = [await testServer.connect(), await testServer.connect()];
      client.send(frames(['fine', 'fail', 'never started']));
      expect(await client.readText()).toBe('fine');
      await expectServes(other);
      await expectMetrics(testServer.server, { requestsInFlight: 1 });
      const summary = await testServer.server.close({ timeoutMs: 50 });
      expect(summary.cut).toBe(2);
    });

    it('whose thenable settles twice answers once, and the second time is reported', async () => {
      const testServer = await startServer(
        transport,
        failing(() =>
          thenable((resolve, reject) => {
            resolve(Buffer.from('first'));
            resolve(Buffer.from('second'));
            reject(boom);
          }),
        ),
      );
      const client = await testServer.connect();
      client.send(frames(['fail', 'next']));
      expect(await client.readTexts(2)).toEqual(['first', 'next']);
      for (let i = 0; i < 2; i++) {
        expect((await testServer.errors.next()).error).toMatchObject({
          code: 'ERR_ODRADEK_ALREADY_ANSWERED',
        });
      }
      expect(testServer.closed.all).toHaveLength(0);
      await expectMetrics(testServer.server, { responsesTotal: 2, requestsTotal: 2 });
    });

    it('whose thenable settles again much later harms nobody', async () => {
      const resolvers: ((value: Uint8Array) => void)[] = [];
      const testServer = await startServer(
        transport,
        failing(() =>
          thenable((resolve) => {
            resolvers.push(resolve);
            resolve(Buffer.from('first'));
          }),
        ),
      );
      const client = await testServer.connect();
      client.send(frame('fail'));
      expect(await client.readText()).toBe('first');
      client.end();
      await testServer.closed.next();
      const other = await testServer.connect();
      resolvers[0]?.(Buffer.from('stray'));
      await expectServes(other);
      expect(other.available).toBe(0);
      expect((await testServer.errors.next()).error).toMatchObject({
        code: 'ERR_ODRADEK_ALREADY_ANSWERED',
      });
    });
  });

  describe('onHandlerError', () => {
    it.each<[string, () => unknown, string[]]>([
      ['resolves to a reply', async () => Buffer.from('sorry'), ['sorry', 'next']],
      ['resolves late', () => nextTurn().then(() => Buffer.from('sorry')), ['sorry', 'next']],
      ['answers nothing', () => noReply, ['next']],
      ['answers in parts', () => [Buffer.from('so'), Buffer.from('rry')], ['sorry', 'next']],
    ])('that %s keeps the connection', async (_name, onHandlerError, expected) => {
      const testServer = await startServer(transport, {
        ...failing(() => Promise.reject(boom)),
        onHandlerError: onHandlerError as () => Uint8Array,
      });
      const client = await testServer.connect();
      client.send(frames(['fail', 'next']));
      expect(await client.readTexts(expected.length)).toEqual(expected);
      expect(testServer.closed.all).toHaveLength(0);
    });

    it.each<[string, () => unknown, number]>([
      ['returns nothing', () => undefined, 1],
      [
        'throws',
        () => {
          throw new Error('second');
        },
        2,
      ],
      ['rejects', () => Promise.reject(new Error('second')), 2],
      ['returns nonsense', () => 'nonsense', 2],
      ['returns a thenable that throws', () => thenable(fail), 2],
      ['returns a thenable that cannot be looked at', () => untouchable(), 2],
    ])('that %s leaves the connection to end', async (_name, onHandlerError, errors) => {
      const testServer = await startServer(transport, {
        ...failing(() => {
          throw boom;
        }),
        onHandlerError: onHandlerError as () => undefined,
      });
      const client = await testServer.connect();
      client.send(frames(['fine', 'fail', 'next']));
      expectBytes(await client.readToEnd(), frame('fine'));
      expect(await testServer.closed.next()).toMatchObject({
        code: 'HANDLER_ERROR',
        unanswered: 2,
      });
      expect(testServer.errors.all).toHaveLength(errors);
    });
  });

  describe('a client that resets', () => {
    it('while a handler works: the signal aborts, the end is reported once and last', async () => {
      const calls = new Inbox<Request>('a request');
      const reply = defer<Buffer>();
      const story: string[] = [];
      const testServer = await startServer(transport, {
        handler: async (request) => {
          calls.push(request);
          const bytes = await reply.promise;
          story.push('handler done');
          return bytes;
        },
        onDisconnect: (_connection, reason) => story.push(`disconnected ${reason.code}`),
      });
      const client = await testServer.connect();
      client.send(frame('hello'));
      const { signal, sent } = await calls.next();
      client.reset();
      await until(() => signal.aborted, 'the abort');
      expect(signal.reason).toBeInstanceOf(Error);
      expect(story).toEqual([]);
      expect(testServer.closed.all).toHaveLength(0);
      reply.resolve(Buffer.from('too late'));
      expect(await testServer.closed.next()).toEqual({
        code: 'PEER_RESET',
        message: 'the client reset the connection',
        errno: 'ECONNRESET',
        unanswered: 1,
      });
      expect(await sent).toEqual({ ok: false, reason: 'PEER_RESET' });
      for (let i = 0; i < 10; i++) await nextTurn();
      expect(story).toEqual(['handler done', 'disconnected PEER_RESET']);
    });

    it('has what it had asked for handled all the same', async () => {
      const bodies: string[] = [];
      const first = defer();
      const testServer = await startServer(transport, {
        handler: async ({ body }) => {
          bodies.push(body.toString());
          if (bodies.length === 1) await first.promise;
          else await nextTurn();
          return noReply;
        },
      });
      const client = await testServer.connect();
      client.send(frames(['a', 'b', 'c', 'd', 'e']));
      await until(() => bodies.length === 1, 'the first request');
      client.reset();
      // Another connection's end is seen after this one's reset.
      await expectSeesAnotherEnd(testServer);
      first.resolve();
      expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET' });
      expect(bodies).toEqual(['a', 'b', 'c', 'd', 'e']);
    });

    it('without having asked for anything', async () => {
      const testServer = await startServer(transport);
      const client = (await testServer.connectBoth())[0];
      client.reset();
      expect(await testServer.closed.next()).toMatchObject({
        code: 'PEER_RESET',
        errno: 'ECONNRESET',
        unanswered: 0,
      });
    });

    it('in the middle of a frame', async () => {
      const testServer = await startServer(transport);
      const client = await testServer.connect();
      client.send(frame('whole'), bytes("00000005'hell'"));
      expect(await client.readText()).toBe('whole');
      client.reset();
      expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET', unanswered: 0 });
    });

    it('while it is owed megabytes', async () => {
      const large = pattern(8_000_000);
      const testServer = await startServer(transport, { handler: () => large });
      const client = await testServer.connect({ paused: true });
      client.send(frame('a'), frame('b'));
      await until(() => testServer.server.metrics().requestsTotal === 2, 'both requests');
      client.reset();
      const reason = await testServer.closed.next();
      expect(reason.code).toBe('PEER_RESET');
      expect(['ECONNRESET', 'EPIPE']).toContain(reason.errno);
      expect(reason.unanswered).toBe(2);
    });

    it('again and again, while others are served', async () => {
      const testServer = await startServer(transport, {
        handler: async ({ body }) => {
          await nextTurn();
          return body;
        },
      });
      const other = await testServer.connect();
      for (let i = 0; i < 50; i++) {
        const client = await testServer.connect();
        client.send(frames(['a', 'b', 'c']));
        if (i % 2 === 0) await client.read(5);
        client.reset();
        await expectServes(other);
      }
      for (let i = 0; i < 50; i++) await testServer.closed.next();
      await expectServes(other);
      await expectMetrics(testServer.server, { connections: 1, pendingRequests: 0 });
      expect(testServer.errors.all).toHaveLength(0);
    });
  });

  describe('a client that is gone', () => {
    it('gets its replies sent until one fails, ends once, and harms nobody', async () => {
      const calls = new Inbox<string>('a request');
      const answers = [defer<Buffer>(), defer<Buffer>(), defer<Buffer>()];
      const testServer = await startServer(transport, {
        handler: ({ body }) => {
          if (body.toString() === 'still there?') return body;
          calls.push(body.toString());
          return (answers[calls.all.length - 1] as (typeof answers)[0]).promise;
        },
      });
      const other = await testServer.connect();
      const client = await testServer.connect();
      client.send(frames(['a', 'b', 'c']));
      await calls.next();
      client.socket.destroy();
      await expectSeesAnotherEnd(testServer);
      // To a FIN replies may still be sent; the first one tells that nobody is left to read them.
      answers[0]?.resolve(pattern(100));
      await calls.next();
      await until(() => testServer.server.metrics().responsesTotal === 1, 'the first reply');
      answers[1]?.resolve(pattern(200_000));
      await calls.next();
      await expectServes(other);
      expect(testServer.closed.all).toHaveLength(1);
      answers[2]?.resolve(pattern(100));
      const reason = await testServer.closed.next();
      expect(reason.code).toBe('PEER_RESET');
      expect(calls.all).toEqual(['a', 'b', 'c']);
      await expectServes(other);
      expect(testServer.closed.all).toHaveLength(2);
      // Two more were the other one's. It may read its reply before the processor has counted it.
      const answered = () => testServer.server.metrics().responsesTotal - 2;
      await until(() => answered() + reason.unanswered === 3, 'every request has its outcome');
      await expectMetrics(testServer.server, { connections: 1, pendingRequests: 0 });
    });
  });

  it('tells of no failure but the connection it happened on', async () => {
    const testServer = await startServer(
      transport,
      failing(() => {
        throw boom;
      }),
    );
    const clients = await Promise.all(Array.from({ length: 20 }, () => testServer.connect()));
    clients.forEach((client, i) => {
      client.send(frame(i % 2 === 0 ? 'fail' : 'fine'));
    });
    for (const [i, client] of clients.entries()) {
      if (i % 2 === 0) expect(await client.readToEnd()).toHaveLength(0);
      else expect(await client.readText()).toBe('fine');
    }
    for (let i = 0; i < 10; i++) await testServer.closed.next();
    await expectMetrics(testServer.server, { connections: 10, handlerErrorsTotal: 10 });
  });
});

function fail(): never {
  throw boom;
}

/** An object whose `then` throws when it is read. */
function untouchable(): object {
  return new Proxy({}, { get: fail });
}

/** Echoes, but for `fail`, which the given handler gets. */
function failing(handler: (request: Request) => unknown) {
  return {
    handler: (request: Request) =>
      request.body.toString() === 'fail' ? (handler(request) as Uint8Array) : request.body,
  };
}

async function expectServes(client: Awaited<ReturnType<TestServer['connect']>>): Promise<void> {
  client.send(frame('still there?'));
  expect(await client.readText()).toBe('still there?');
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
