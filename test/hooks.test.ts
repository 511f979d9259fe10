import {
  type CloseReason,
  type Connection,
  closeConnection,
  custom,
  delimited,
  type Framing,
  lengthPrefixed,
  raw,
  varintPrefixed,
} from 'odradek';
import { describe, expect, it } from 'vitest';
import { bytes, expectBytes, frame, frames, pattern } from './support/bytes.js';
import { expectMetrics, startServer } from './support/server.js';
import { thenable } from './support/thenable.js';
import { transports } from './support/transports.js';
import { type Deferred, defer, Inbox, nextTurn, until } from './support/wait.js';

describe.each(transports)('hooks (%s)', (transport) => {
  describe('onConnect', () => {
    it('sees every connection before its first request', async () => {
      const story: string[] = [];
      const testServer = await startServer(transport, {
        onConnect: (connection) => {
          story.push(`connect ${connection.remotePort}`);
        },
        handler: ({ body, connection }) => {
          story.push(`request ${connection.remotePort}`);
          return body;
        },
      });
      const client = await testServer.connect();
      client.send(frame('hello'));
      expect(await client.readText()).toBe('hello');
      const port = client.socket.localPort;
      expect(story).toEqual([`connect ${port}`, `request ${port}`]);
    });

    it.each<[string, () => Uint8Array | PromiseLike<Uint8Array>]>([
      ['at once', () => Buffer.from('welcome')],
      ['later', () => nextTurn().then(() => Buffer.from('welcome'))],
      ['by a thenable', () => thenable((resolve) => resolve(Buffer.from('welcome')))],
    ])('greets %s, framed and before any reply', async (_name, onConnect) => {
      const testServer = await startServer(transport, { onConnect });
      const client = await testServer.connect();
      client.send(frame('hello'));
      expect(await client.readTexts(2)).toEqual(['welcome', 'hello']);
      await expectMetrics(testServer.server, {
        requestsTotal: 1,
        responsesTotal: 1,
        bytesWrittenTotal: 20,
      });
    });

    it('greets a client that waits for the greeting, with megabytes too', async () => {
      const greeting = pattern(5_000_000);
      const testServer = await startServer(transport, { onConnect: () => greeting });
      const client = await testServer.connect();
      expectBytes(await client.readFrame(), greeting);
      client.send(frame('thanks'));
      expect(await client.readText()).toBe('thanks');
    });

    it.each<[string, () => unknown, string]>([
      ['closeConnection', () => closeConnection, 'onConnect refused the connection'],
      ['a promise of it', async () => closeConnection, 'onConnect refused the connection'],
      [
        'a throw',
        () => {
          throw new Error('not you');
        },
        'onConnect refused the connection: not you',
      ],
      [
        'a rejection',
        () => nextTurn().then(() => Promise.reject(new Error('not you'))),
        'onConnect refused the connection: not you',
      ],
      ['nonsense', () => 'hello', expect.stringContaining('got "hello"')],
    ])('refuses by %s', async (_name, onConnect, message) => {
      const handled: unknown[] = [];
      const testServer = await startServer(transport, {
        onConnect: onConnect as () => typeof closeConnection,
        handler: (request) => {
          handled.push(request);
          return request.body;
        },
      });
      const client = await testServer.connect();
      client.send(frames(['a', 'b']));
      expect(await client.readToEnd()).toHaveLength(0);
      expect(await testServer.closed.next()).toEqual({ code: 'REFUSED', message, unanswered: 0 });
      expect(handled).toHaveLength(0);
      const failed = message !== 'onConnect refused the connection';
      expect(testServer.errors.all).toHaveLength(failed ? 1 : 0);
      if (failed) expect(testServer.errors.all[0]?.request).toBeNull();
    });

    it('keeps every byte unread until it has decided', async () => {
      const decisions = new Inbox<Deferred<undefined>>('a connection');
      const testServer = await startServer(transport, {
        onConnect: () => {
          const decision = defer<undefined>();
          decisions.push(decision);
          return decision.promise;
        },
      });
      const { server } = testServer;
      const client = await testServer.connect();
      client.send(frames(['a', 'b']));
      const decision = await decisions.next();
      for (let i = 0; i < 20; i++) await nextTurn();
      expect(server.metrics()).toMatchObject({ bytesReadTotal: 0, requestsTotal: 0 });
      expect(server.metrics().connections).toBe(1);
      decision.resolve(undefined);
      expect(await client.readTexts(2)).toEqual(['a', 'b']);
    });

    it('holds up nobody else while it decides', async () => {
      const decisions = new Inbox<Deferred<undefined>>('a connection');
      const testServer = await startServer(transport, {
        onConnect: () => {
          if (decisions.all.length > 0) return undefined;
          const decision = defer<undefined>();
          decisions.push(decision);
          return decision.promise;
        },
      });
      const waiting = await testServer.connect();
      const decision = await decisions.next();
      const other = await testServer.connect();
      other.send(frame('hello'));
      expect(await other.readText()).toBe('hello');
      waiting.send(frame('at last'));
      decision.resolve(undefined);
      expect(await waiting.readText()).toBe('at last');
    });

    it('does not hold up the end of the server', async () => {
      const seen = new Inbox<Connection>('a connection');
      const decision = defer<undefined>();
      const testServer = await startServer(transport, {
        onConnect: (connection) => {
          seen.push(connection);
          return decision.promise;
        },
      });
      const client = await testServer.connect();
      await seen.next();
      expect(await testServer.server.close()).toEqual({ completed: 0, cut: 0 });
      expect(await client.readToEnd()).toHaveLength(0);
      expect(testServer.closed.all).toMatchObject([{ code: 'SERVER_CLOSED' }]);
      decision.resolve(undefined);
      for (let i = 0; i < 10; i++) await nextTurn();
      expect(testServer.server.metrics().connections).toBe(0);
    });

    it('may change the framing, of the greeting too', async () => {
      const testServer = await startServer(transport, {
        onConnect: (connection) => {
          connection.setFraming(delimited('\n'));
          return Buffer.from('220 ready');
        },
      });
      const client = await testServer.connect();
      client.send(Buffer.from('HELO\nQUIT\n'));
      expect((await client.read(20)).toString()).toBe('220 ready\nHELO\nQUIT\n');
    });

    it('may close the connection itself', async () => {
      const testServer = await startServer(transport, {
        onConnect: (connection) => connection.close('no'),
      });
      const client = await testServer.connect();
      expect(await client.readToEnd()).toHaveLength(0);
      expect(await testServer.closed.next()).toMatchObject({ code: 'CLOSED_BY_SERVICE' });
      for (let i = 0; i < 10; i++) await nextTurn();
      expect(testServer.closed.all).toHaveLength(1);
      expect(testServer.errors.all).toHaveLength(0);
    });
  });

  describe('onDisconnect', () => {
    it('runs exactly once for every connection, with the reason', async () => {
      const ends = new Map<Connection, CloseReason[]>();
      const testServer = await startServer(transport, {
        onConnect: (connection) => {
          ends.set(connection, []);
        },
        onDisconnect: (connection, reason) => {
          ends.get(connection)?.push(reason);
        },
        handler: ({ body }) => (body.toString() === 'quit' ? closeConnection : body),
      });
      for (let i = 0; i < 40; i++) {
        const client = await testServer.connect();
        await testServer.opened.next();
        if (i % 4 === 0) client.end();
        if (i % 4 === 1) client.reset();
        if (i % 4 === 2) client.send(frame('quit'));
        if (i % 4 === 3) client.send(bytes('ffffffff'));
      }
      for (let i = 0; i < 40; i++) await testServer.closed.next();
      for (let i = 0; i < 10; i++) await nextTurn();
      const codes = [...ends.values()].map((reasons) => reasons.map(({ code }) => code).join());
      expect(codes).toHaveLength(40);
      for (const [i, code] of codes.entries()) {
        expect(code).toBe(
          ['PEER_CLOSED', 'PEER_RESET', 'CLOSED_BY_HANDLER', 'FRAME_LENGTH_INVALID'][i % 4],
        );
      }
    });

    it('that throws is reported and harms nobody', async () => {
      const testServer = await startServer(transport, {
        onDisconnect: () => {
          throw new Error('boom');
        },
      });
      const client = await testServer.connect();
      client.end();
      await testServer.closed.next();
      const { error, request } = await testServer.errors.next();
      expect([(error as Error).message, request]).toEqual(['boom', null]);
      const other = await testServer.connect();
      other.send(frame('hello'));
      expect(await other.readText()).toBe('hello');
    });
  });

  describe('connection.state', () => {
    it('belongs to one connection and lives as long', async () => {
      const left: string[] = [];
      const testServer = await startServer<{ name: string; count: number }>(transport, {
        onConnect: (connection) => {
          connection.state = { name: 'nobody', count: 0 };
        },
        handler: ({ body, connection }) => {
          const { state } = connection;
          if (state.count++ === 0) state.name = body.toString();
          return Buffer.from(`${state.name} ${state.count}`);
        },
        onDisconnect: ({ state }) => left.push(`${state.name} ${state.count}`),
      });
      const [ann, bob] = [await testServer.connect(), await testServer.connect()];
      ann.send(frames(['ann', 'x', 'y']));
      bob.send(frames(['bob', 'x']));
      expect(await ann.readTexts(3)).toEqual(['ann 1', 'ann 2', 'ann 3']);
      expect(await bob.readTexts(2)).toEqual(['bob 1', 'bob 2']);
      ann.end();
      await testServer.closed.next();
      bob.end();
      await testServer.closed.next();
      expect(left).toEqual(['ann 3', 'bob 2']);
    });

    it('is undefined until it is set', async () => {
      const testServer = await startServer(transport);
      const [, connection] = await testServer.connectBoth();
      expect(connection.state).toBeUndefined();
    });
  });

  describe('setFraming', () => {
    /** A server whose `upgrade` request changes the framing, at once or some turns later. */
    async function negotiating(framing: Framing, turns: number, first?: Framing) {
      const bodies: string[] = [];
      const testServer = await startServer(transport, {
        ...(first === undefined ? {} : { framing: first }),
        handler: ({ body, connection }) => {
          const text = body.toString();
          bodies.push(text);
          if (text !== 'upgrade') return body;
          const upgrade = (): Buffer => {
            connection.setFraming(framing);
            return Buffer.from('upgraded');
          };
          if (turns === 0) return upgrade();
          return (async () => {
            for (let i = 0; i < turns; i++) await nextTurn();
            return upgrade();
          })();
        },
      });
      return { testServer, client: await testServer.connect(), bodies };
    }

    const moments: [string, number][] = [
      ['at once', 0],
      ['in the next turn', 1],
      ['some turns later', 5],
    ];

    it.each(moments)(
      '%s: what is pipelined behind is cut by the new framing',
      async (_name, turns) => {
        const { client, bodies } = await negotiating(delimited('\n'), turns);
        client.send(frames(['a', 'upgrade']), Buffer.from('one\ntwo\n\nthree\n'));
        expect(await client.readTexts(2)).toEqual(['a', 'upgraded']);
        expect((await client.read(15)).toString()).toBe('one\ntwo\n\nthree\n');
        expect(bodies).toEqual(['a', 'upgrade', 'one', 'two', '', 'three']);
      },
    );

    it.each(moments)(
      '%s: bytes that look like old frames go back as they came',
      async (_n, turns) => {
        const { client, bodies } = await negotiating(delimited('\n'), turns);
        // Behind the request stand complete frames of the old framing, which are lines too.
        const behind = Buffer.concat([frame('x\ny'), frame('z'), Buffer.from('\n'), frame('half')]);
        client.send(frame('upgrade'), behind, Buffer.from('\n'));
        expect(await client.readText()).toBe('upgraded');
        expectBytes(
          await client.read(behind.length + 1),
          Buffer.concat([behind, Buffer.from('\n')]),
        );
        expect(bodies.slice(1).join('\n')).toBe(behind.toString());
      },
    );

    it.each(moments)('%s: bytes that would break the old framing do no harm', async (_n, turns) => {
      const { testServer, client } = await negotiating(raw(), turns);
      const behind = bytes('ffffffff 80000000 7fffffff');
      client.send(frame('upgrade'), behind);
      expect(await client.readText()).toBe('upgraded');
      expectBytes(await client.read(behind.length), behind);
      expect(testServer.closed.all).toHaveLength(0);
    });

    it.each(moments)('%s: from any framing to any other', async (_name, turns) => {
      const netstrings = custom((all) => {
        const colon = all.indexOf(':');
        if (colon === -1) return null;
        const end = colon + 1 + Number(all.toString('latin1', 0, colon));
        return all.length <= end ? null : { length: end + 1, bodyStart: colon + 1, bodyEnd: end };
      });
      const kinds: [string, Framing, (text: string) => Buffer, (text: string) => Buffer][] = [
        ['lengthPrefixed', lengthPrefixed(), frame, frame],
        ['short', lengthPrefixed({ sizeBytes: 1 }), short, short],
        ['varintPrefixed', varintPrefixed(), short, short],
        ['delimited', delimited('\r\n'), line, line],
        ['custom', netstrings, (text) => Buffer.from(`${text.length}:${text},`), plain],
      ];
      for (const [, first, asked, answered] of kinds) {
        for (const [, second, askedThen, answeredThen] of kinds) {
          const { testServer, client } = await negotiating(second, turns, first);
          client.send(asked('upgrade'), ...['a', 'bc', 'def'].map(askedThen));
          client.end();
          const expected = [answered('upgraded'), ...['a', 'bc', 'def'].map(answeredThen)];
          expectBytes(await client.readToEnd(), Buffer.concat(expected));
          expect(await testServer.closed.next()).toMatchObject({
            code: 'PEER_CLOSED',
            unanswered: 0,
          });
        }
      }
    });

    it('may change again and again, with everything pipelined', async () => {
      const testServer = await startServer(transport, {
        handler: async ({ body, connection }) => {
          const text = body.toString();
          if (text === 'lines') connection.setFraming(delimited('\n'));
          await nextTurn();
          if (text === 'frames') connection.setFraming(lengthPrefixed());
          return body;
        },
      });
      const client = await testServer.connect();
      const round = Buffer.concat([frames(['a', 'lines']), Buffer.from('b\nc\nframes\n')]);
      client.send(...Array.from({ length: 30 }, () => round));
      client.end();
      const answers = Array.from({ length: 30 }, () => round);
      expectBytes(await client.readToEnd(), Buffer.concat(answers));
      expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
    });

    it('puts a large pipelined frame together by the new framing', async () => {
      const { client } = await negotiating(varintPrefixed(), 3);
      const large = pattern(2_000_000);
      client.send(frame('upgrade'), bytes('80897a'), large, bytes("01'z'"));
      expect(await client.readText()).toBe('upgraded');
      expectBytes(
        await client.read(3 + large.length + 2),
        Buffer.concat([bytes('80897a'), large, bytes("01'z'")]),
      );
    });

    it('leaves the unfinished frame to the new framing when FIN comes', async () => {
      const { testServer, client } = await negotiating(delimited('\n'), 2);
      client.send(frame('upgrade'), Buffer.from('whole\nhalf'));
      client.end();
      const expected = Buffer.concat([frame('upgraded'), Buffer.from('whole\n')]);
      expectBytes(await client.readToEnd(), expected);
      expect(await testServer.closed.next()).toMatchObject({ code: 'TRUNCATED_FRAME' });
    });

    it('is refused outside of onConnect and handlers, and for what is no framing', async () => {
      const errors: unknown[] = [];
      const attempt = (call: () => void): void => {
        try {
          call();
        } catch (error) {
          errors.push(error);
        }
      };
      const testServer = await startServer(transport, {
        handler: ({ body, connection }) => {
          attempt(() => connection.setFraming('lines' as unknown as Framing));
          attempt(() => connection.setFraming({ kind: 'raw', maxFrameBytes: 1 }));
          if (body.toString() === 'quit') {
            connection.close();
            attempt(() => connection.setFraming(raw()));
          }
          return body;
        },
        onDisconnect: (connection) => attempt(() => connection.setFraming(raw())),
      });
      const [client, connection] = await testServer.connectBoth();
      attempt(() => connection.setFraming(raw()));
      client.send(frame('hello'));
      expect(await client.readText()).toBe('hello');
      client.send(frame('quit'));
      await testServer.closed.next();
      expect(errors.map((error) => (error as { code: string }).code)).toEqual([
        'ERR_ODRADEK_SET_FRAMING',
        'ERR_ODRADEK_INVALID_ARGUMENT',
        'ERR_ODRADEK_INVALID_ARGUMENT',
        'ERR_ODRADEK_INVALID_ARGUMENT',
        'ERR_ODRADEK_INVALID_ARGUMENT',
        'ERR_ODRADEK_SET_FRAMING',
        'ERR_ODRADEK_SET_FRAMING',
      ]);
      await until(() => testServer.server.metrics().connections === 0, 'the end');
    });
  });
});

/** One byte of length, which is a varint as well. */
function short(text: string): Buffer {
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
}

function line(text: string): Buffer {
  return Buffer.from(`${text}\r\n`);
}

function plain(text: string): Buffer {
  return Buffer.from(text);
}
