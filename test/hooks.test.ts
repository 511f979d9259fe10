import { type CloseReason, type Connection, closeConnection, delimited } from 'odradek';
import { describe, expect, it } from 'vitest';
import { bytes, expectBytes, frame, frames, pattern } from './support/bytes.js';
import { expectMetrics, startServer } from './support/server.js';
import { thenable } from './support/thenable.js';
import { placements } from './support/transports.js';
import { type Deferred, defer, Inbox, nextTurn } from './support/wait.js';

describe.each(placements)('hooks (%s)', (transport) => {
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
});
