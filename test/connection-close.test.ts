import { closeConnection, OdradekError, type Request, replyAndClose } from 'odradek';
import { describe, expect, it } from 'vitest';
import { bytes, expectBytes, frame, frames, pattern } from './support/bytes.js';
import { startWithheld } from './support/handlers.js';
import { expectMetrics, startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { defer, Inbox, nextTurn, until, within } from './support/wait.js';

describe.each(placements)('closing a connection (%s)', (transport) => {
  describe('closeConnection', () => {
    it('lets all earlier replies leave, drops what is behind, and ends in order', async () => {
      const handled: string[] = [];
      const late = defer<Buffer>();
      const testServer = await startServer(transport, {
        handler: ({ body }) => {
          handled.push(body.toString());
          if (body.toString() === 'quit') return closeConnection;
          return body.toString() === 'late' ? late.promise : body;
        },
      });
      const client = await testServer.connect();
      client.send(frames(['a', 'late', 'b', 'quit', 'c', 'd']));
      // Nothing but what was received by then counts as unanswered.
      await expectMetrics(testServer.server, { requestsTotal: 6 });
      late.resolve(Buffer.from('late'));
      expectBytes(await client.readToEnd(), frames(['a', 'late', 'b']));
      expect(await testServer.closed.next()).toEqual({
        code: 'CLOSED_BY_HANDLER',
        message: 'the handler closed the connection',
        unanswered: 3,
      });
      expect(handled).toEqual(['a', 'late', 'b', 'quit']);
      await expectMetrics(testServer.server, { pendingRequests: 0, responsesTotal: 3 });
    });

    it('may come from a promise', async () => {
      const testServer = await startServer(transport, {
        handler: async () => {
          await nextTurn();
          return closeConnection;
        },
      });
      const client = await testServer.connect();
      client.send(frame('quit'));
      expect(await client.readToEnd()).toHaveLength(0);
      expect(await testServer.closed.next()).toMatchObject({ code: 'CLOSED_BY_HANDLER' });
    });
  });

  describe('replyAndClose', () => {
    it.each([
      ['a small reply', 100, 0],
      ['a small reply, unread input behind it', 100, 200_000],
      ['a large reply', 6_000_000, 0],
      ['a large reply, unread input behind it', 6_000_000, 500_000],
    ])('%s: the client reads all of it, then EOF', async (_name, replyBytes, unreadBytes) => {
      const reply = pattern(replyBytes);
      const testServer = await startServer(transport, { handler: () => replyAndClose(reply) });
      const client = await testServer.connect();
      client.send(frame('bye'), Buffer.alloc(unreadBytes, 1));
      expectBytes(await client.readToEnd(), frame(reply));
      expect(await testServer.closed.next()).toMatchObject({ code: 'CLOSED_BY_HANDLER' });
      await expectMetrics(testServer.server, { responsesTotal: 1 });
    });

    it('counts no request as unanswered but those behind it', async () => {
      const testServer = await startServer(transport, {
        handler: ({ body }) => (body.toString() === 'quit' ? replyAndClose([body, body]) : body),
      });
      const client = await testServer.connect();
      client.send(frames(['a', 'quit', 'b', 'c']));
      expectBytes(await client.readToEnd(), frames(['a', 'quitquit']));
      expect(await testServer.closed.next()).toMatchObject({ unanswered: 2 });
    });

    it('reaches a client that has sent FIN', async () => {
      const testServer = await startServer(transport, {
        handler: async ({ body }) => {
          await nextTurn();
          return replyAndClose(body);
        },
      });
      const client = await testServer.connect();
      client.send(frame('bye'));
      client.end();
      expectBytes(await client.readToEnd(), frame('bye'));
      await testServer.closed.next();
    });

    it('closes although the client goes on sending and never closes', async () => {
      const testServer = await startServer(transport, {
        handler: ({ body }) => replyAndClose(body),
      });
      const client = await testServer.connect({ staysOpen: true });
      client.send(frame('bye'));
      expectBytes(await client.read(7), frame('bye'));
      const stop = client.pour(Buffer.alloc(65_536));
      expect(await testServer.closed.next()).toMatchObject({ code: 'CLOSED_BY_HANDLER' });
      stop();
      // It is read for a while, so that the reply is not lost to a reset, but not for ever.
      expect(testServer.server.metrics().bytesReadTotal).toBeLessThan(4_000_000);
      expect(testServer.server.metrics().connections).toBe(0);
    });

    it('throws for what is no reply', () => {
      for (const value of [undefined, null, 'text', 7, {}, [1]]) {
        expect(() => replyAndClose(value as unknown as Uint8Array)).toThrow(
          expect.objectContaining({ code: 'ERR_ODRADEK_INVALID_REPLY' }),
        );
        expect(() => replyAndClose(value as unknown as Uint8Array)).toThrow(OdradekError);
      }
    });
  });

  describe('connection.close()', () => {
    it('lets given replies leave, and drops what has not started', async () => {
      const testServer = await startServer(transport, {
        handler: ({ body, connection }) => {
          if (body.toString() === 'c') connection.close('had enough');
          return body;
        },
      });
      const client = await testServer.connect();
      client.send(frames(['a', 'b', 'c', 'd', 'e']));
      expectBytes(await client.readToEnd(), frames(['a', 'b']));
      expect(await testServer.closed.next()).toEqual({
        code: 'CLOSED_BY_SERVICE',
        message: 'the service closed the connection: had enough',
        unanswered: 3,
      });
    });

    it('sends nothing that is answered later, though earlier replies are still on their way', async () => {
      const late = defer<Buffer>();
      const calls = new Inbox<Request>('a request');
      const large = pattern(8_000_000);
      const testServer = await startServer(transport, {
        handler: (request) => {
          calls.push(request);
          return request.body.toString() === 'large' ? large : late.promise;
        },
      });
      const client = await testServer.connect({ paused: true });
      client.send(frames(['large', 'late']));
      await calls.next();
      const { connection, sent } = await calls.next();
      for (let i = 0; i < 10; i++) await nextTurn();
      connection.close();
      late.resolve(Buffer.from('dropped'));
      expect(await within(sent, 'sent')).toEqual({ ok: false, reason: 'CLOSED_BY_SERVICE' });
      client.startReading();
      expectBytes(await client.readToEnd(), frame(large));
      expect(await testServer.closed.next()).toMatchObject({
        code: 'CLOSED_BY_SERVICE',
        unanswered: 1,
      });
    });

    it('closes an idle connection from outside of any handler, once', async () => {
      const testServer = await startServer(transport);
      const [client, connection] = await testServer.connectBoth();
      client.send(frame('hello'));
      await client.readText();
      connection.close();
      connection.close('again');
      expect(await client.readToEnd()).toHaveLength(0);
      expect(await testServer.closed.next()).toEqual({
        code: 'CLOSED_BY_SERVICE',
        message: 'the service closed the connection',
        unanswered: 0,
      });
      connection.close('much later');
      for (let i = 0; i < 10; i++) await nextTurn();
      expect(testServer.closed.all).toHaveLength(1);
    });

    it('reports the end only after the handler at work is done', async () => {
      const { testServer, requests, answer } = await startWithheld(transport);
      const client = await testServer.connect();
      client.send(frame('hello'));
      const { connection } = await requests.next();
      connection.close();
      expect(await client.readToEnd()).toHaveLength(0);
      for (let i = 0; i < 10; i++) await nextTurn();
      expect(testServer.closed.all).toHaveLength(0);
      answer.resolve(Buffer.from('too late'));
      expect(await testServer.closed.next()).toMatchObject({
        code: 'CLOSED_BY_SERVICE',
        unanswered: 1,
      });
    });

    it('closes in the middle of a frame', async () => {
      const testServer = await startServer(transport);
      const [client, connection] = await testServer.connectBoth();
      client.send(bytes("00000005'hell'"));
      await until(() => testServer.server.metrics().bytesReadTotal === 8, 'the half frame');
      connection.close();
      expect(await client.readToEnd()).toHaveLength(0);
      expect(await testServer.closed.next()).toMatchObject({ code: 'CLOSED_BY_SERVICE' });
    });
  });
});
