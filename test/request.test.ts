import { noReply, type Request, replyAndClose, type SentOutcome } from 'odradek';
import { describe, expect, it, vi } from 'vitest';
import { expectBytes, frame, frames, numbered, pattern } from './support/bytes.js';
import { startWithheld } from './support/handlers.js';
import { startServer } from './support/server.js';
import { isPooled, placements } from './support/transports.js';
import { Inbox, nextTurn, patienceMs, until, within } from './support/wait.js';

describe.each(placements)('request (%s)', (transport) => {
  const withheld = () => startWithheld(transport);

  it('says where it came from', async () => {
    const { testServer, requests, answer } = await withheld();
    const [client, opened] = await testServer.connectBoth();
    client.send(frame('hello'));
    const { connection } = await requests.next();
    expect(connection).toBe(opened);
    expect(connection.listener).toBe('PLAINTEXT');
    expect(connection.remoteAddress).toBe('127.0.0.1');
    expect(connection.remotePort).toBe(client.socket.localPort);
    const ends = `127.0.0.1:${testServer.port()}-127.0.0.1:${client.socket.localPort}`;
    expect(connection.id).toMatch(new RegExp(`^${ends}-\\d+-\\d+$`));
    answer.resolve(Buffer.of(1));
    expectBytes(await client.readFrame(), Buffer.of(1));
  });

  it('has a connection id that no other has', async () => {
    const testServer = await startServer(transport);
    const ids = new Set<string>();
    for (let i = 0; i < 20; i++) {
      const [client, connection] = await testServer.connectBoth();
      ids.add(connection.id);
      if (i % 2 === 0) {
        client.end();
        await testServer.closed.next();
      }
    }
    expect(ids.size).toBe(20);
  });

  it('says when it had come, on the clock of performance.now()', async () => {
    // What another thread's clock says comes here by the wall clock, which may be set meanwhile.
    const slackMs = isPooled(transport) ? 100 : 1;
    const { testServer, requests } = await withheld();
    const client = await testServer.connect();
    for (let i = 0; i < 3; i++) {
      const other = i === 0 ? client : await testServer.connect();
      const before = performance.now();
      other.send(frame('hello'));
      const { receivedAt } = await requests.next();
      expect(receivedAt).toBeGreaterThanOrEqual(before - slackMs);
      expect(receivedAt).toBeLessThanOrEqual(performance.now() + slackMs);
    }
  });

  describe('signal', () => {
    it('is one and the same, and does not abort for a request that is answered', async () => {
      const { testServer, requests, answer } = await withheld();
      const client = await testServer.connect();
      client.send(frame('hello'));
      const request = await requests.next();
      const { signal } = request;
      expect(request.signal).toBe(signal);
      answer.resolve(Buffer.from('done'));
      expect(await client.readText()).toBe('done');
      client.end();
      await testServer.closed.next();
      expect(signal.aborted).toBe(false);
    });

    it('aborts when the service closes the connection', async () => {
      const { testServer, requests, answer } = await withheld();
      const client = await testServer.connect();
      client.send(frame('hello'));
      const { signal, connection } = await requests.next();
      connection.close('enough');
      expect(signal.aborted).toBe(true);
      expect(signal.reason).toMatchObject({
        message: expect.stringContaining('CLOSED_BY_SERVICE'),
      });
      answer.resolve(Buffer.from('too late'));
      expect(await client.readToEnd()).toHaveLength(0);
    });

    it('aborts when the server reaches the deadline of its close', async () => {
      const { testServer, requests } = await withheld();
      const client = await testServer.connect();
      client.send(frame('hello'));
      const { signal } = await requests.next();
      await testServer.server.close({ timeoutMs: 20 });
      expect(signal.aborted).toBe(true);
      expect(signal.reason).toMatchObject({ message: expect.stringContaining('DEADLINE') });
    });

    it('has aborted already where it is first asked for after the end', async () => {
      const { testServer, requests } = await withheld();
      const client = await testServer.connect();
      client.send(frame('hello'));
      const request = await requests.next();
      request.connection.close();
      expect(request.signal.aborted).toBe(true);
      expect(request.signal.reason).toBeInstanceOf(Error);
    });
  });

  describe('sent', () => {
    it.each<[string, Uint8Array | typeof noReply]>([
      ['a reply', Buffer.from('hello')],
      ['a large reply', pattern(3_000_000)],
      ['no reply by choice', noReply],
    ])('resolves when the kernel has %s', async (_name, reply) => {
      const outcomes = new Inbox<SentOutcome>('what became of the reply');
      const testServer = await startServer(transport, {
        handler: (request) => {
          void request.sent.then(outcomes.push);
          return request.body.length === 0 ? Buffer.from('end') : reply;
        },
      });
      const client = await testServer.connect();
      client.send(frame('x'), frame(''));
      if (reply instanceof Uint8Array) expectBytes(await client.readFrame(), reply);
      expect(await client.readText()).toBe('end');
      expect(await outcomes.next()).toEqual({ ok: true });
      expect(await outcomes.next()).toEqual({ ok: true });
    });

    it('waits as long as the kernel does not take the reply', async () => {
      const large = pattern(24_000_000);
      const outcomes = new Inbox<SentOutcome>('what became of the reply');
      const testServer = await startServer(transport, {
        handler: (request) => {
          void request.sent.then(outcomes.push);
          return large;
        },
      });
      const client = await testServer.connect({ paused: true });
      client.send(frame('please'));
      await until(() => testServer.server.metrics().requestsTotal === 1, 'the request');
      // Others are served meanwhile, so whatever would settle early has had its time.
      const other = await testServer.connect();
      other.send(frame(''));
      expectBytes(await other.readFrame(), large);
      expect(await outcomes.next()).toEqual({ ok: true });
      expect(outcomes.all).toHaveLength(1);
      client.startReading();
      expectBytes(await client.readFrame(), large);
      expect(await outcomes.next()).toEqual({ ok: true });
    });

    it('resolves with the reason where the reply does not leave', async () => {
      const { testServer, requests, answer } = await withheld();
      const client = await testServer.connect();
      client.send(frame('hello'));
      const { sent, connection } = await requests.next();
      connection.close();
      answer.resolve(Buffer.from('dropped'));
      expect(await within(sent, 'sent')).toEqual({ ok: false, reason: 'CLOSED_BY_SERVICE' });
    });

    it('resolves with DEADLINE where the handler never answers', async () => {
      const { testServer, requests } = await withheld();
      const client = await testServer.connect();
      client.send(frame('hello'));
      const { sent } = await requests.next();
      await testServer.server.close({ timeoutMs: 20 });
      expect(await within(sent, 'sent')).toEqual({ ok: false, reason: 'DEADLINE' });
    });

    it('resolves for a reply that the client did not live to read', async () => {
      const outcomes = new Inbox<SentOutcome>('what became of the reply');
      const large = pattern(24_000_000);
      const testServer = await startServer(transport, {
        handler: (request) => {
          void request.sent.then(outcomes.push);
          return large;
        },
      });
      const client = await testServer.connect({ paused: true });
      client.send(frame('please'));
      await until(() => testServer.server.metrics().requestsTotal === 1, 'the request');
      client.reset();
      expect(await outcomes.next()).toEqual({ ok: false, reason: 'PEER_RESET' });
    });

    it('comes before the connection closes behind its reply', async () => {
      const story: string[] = [];
      const testServer = await startServer(transport, {
        handler: (request) => {
          void request.sent.then(({ ok }) => story.push(`sent ${ok}`));
          return replyAndClose(Buffer.from('bye'));
        },
        onDisconnect: () => story.push('disconnected'),
      });
      const client = await testServer.connect();
      client.send(frame('hello'));
      expectBytes(await client.readToEnd(), frame('bye'));
      await testServer.closed.next();
      await nextTurn();
      expect(story).toEqual(['sent true', 'disconnected']);
    });

    it.skipIf(transport !== 'native')('comes first, too, where both are told at once', async () => {
      const story: string[] = [];
      const testServer = await startServer(transport, {
        handler: (request) => {
          void request.sent.then(({ ok }) => story.push(`sent ${ok}`));
          // This thread looks again only when the processor is done with the connection.
          setImmediate(() => {
            const { server } = testServer;
            const deadline = performance.now() + patienceMs;
            const isOpen = () => server.metrics().processors.some((each) => each.connections > 0);
            while (isOpen() && performance.now() < deadline);
          });
          return replyAndClose(Buffer.from('bye'));
        },
        onDisconnect: () => story.push('disconnected'),
      });
      const client = await testServer.connect();
      client.send(frame('hello'));
      client.socket.end();
      await testServer.closed.next();
      await nextTurn();
      expect(story).toEqual(['sent true', 'disconnected']);
    });

    it('can be asked for too late', async () => {
      const requests = new Inbox<Request>('a request');
      const testServer = await startServer(transport, {
        handler: (request) => {
          requests.push(request);
          return request.body;
        },
      });
      const client = await testServer.connect();
      client.send(frame('hello'));
      await client.readText();
      const request = await requests.next();
      expect(await request.sent).toEqual({ ok: false, reason: 'ASKED_TOO_LATE' });
      expect(request.sent).toBe(request.sent);
    });
  });

  describe('body', () => {
    it('that is kept never changes, while a million more requests pass', async () => {
      const kept: [Buffer, Buffer][] = [];
      const keep = (body: Buffer): void => {
        kept.push([body, Buffer.from(body)]);
      };
      let passed = 0;
      const testServer = await startServer(transport, {
        handler: ({ body }) => {
          // All of the first ones, which share memory, and later one now and then.
          if (passed < 600 || passed % 9973 === 0) keep(body);
          passed++;
          return noReply;
        },
      });
      const client = await testServer.connect();
      for (let i = 0; i < 500; i++) client.send(frame(pattern(i % 300, i)));
      client.send(frame(pattern(100_000)), frame(pattern(20_000)));
      const batch = frames(Array.from({ length: 1000 }, (_, i) => pattern(16, i)));
      for (let i = 0; i < 1000; i++) client.send(batch);
      await vi.waitFor(() => expect(passed).toBe(1_000_502), { timeout: 25_000, interval: 5 });
      expect(kept.length).toBeGreaterThan(600);
      for (const [body, copy] of kept) expectBytes(body, copy);
    });

    it('cannot be taken from under the others by a transfer of its memory', async () => {
      const testServer = await startServer(transport, {
        handler: ({ body }) => {
          const memory = body.buffer as ArrayBuffer;
          try {
            structuredClone(memory, { transfer: [memory] });
          } catch {
            // Node 22 and newer refuse, Node 20 copies.
          }
          return body;
        },
      });
      const client = await testServer.connect();
      const sent = frames(numbered(100));
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
    });

    it('that is kept pins at most 64 KiB more than its own bytes', async () => {
      const bodies: Buffer[] = [];
      const testServer = await startServer(transport, {
        handler: ({ body }) => {
          bodies.push(body);
          return body.subarray(0, 1);
        },
      });
      const client = await testServer.connect();
      const sizes = [1, 100, 5000, 16_383, 16_384, 65_536, 300_000, 7, 2_000_000, 1];
      client.send(frames(sizes.map((size) => pattern(size))));
      await client.sendInPieces(frames([pattern(150_000), pattern(10)]), 1000);
      for (let i = 0; i < sizes.length + 2; i++) await client.readFrame();
      expect(bodies.map((body) => body.length)).toEqual([...sizes, 150_000, 10]);
      for (const body of bodies) {
        expect(body.buffer.byteLength - body.length).toBeLessThanOrEqual(65_536);
      }
    });

    it('has an ArrayBuffer of its own where that was asked for', async () => {
      const bodies: Buffer[] = [];
      const testServer = await startServer(transport, {
        isolateBodies: true,
        handler: ({ body }) => {
          bodies.push(body);
          return Buffer.from(body);
        },
      });
      const client = await testServer.connect();
      const payloads = [...numbered(200), pattern(50_000), pattern(200_000), Buffer.alloc(0)];
      client.send(frames(payloads));
      for (const payload of payloads) expectBytes(await client.readFrame(), payload);
      expect(new Set(bodies.map((body) => body.buffer)).size).toBe(bodies.length);
      for (const body of bodies) {
        expect([body.byteOffset, body.buffer.byteLength]).toEqual([0, body.length]);
      }
      // Nobody else has it, so it may be given away.
      const moved = structuredClone(bodies[200]?.buffer, {
        transfer: [bodies[200]?.buffer as ArrayBuffer],
      });
      expectBytes(new Uint8Array(moved as ArrayBuffer), pattern(50_000));
    });
  });
});
