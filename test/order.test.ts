import { noReply, type Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, numbered, pattern } from './support/bytes.js';
import { Dice } from './support/dice.js';
import { connectMany } from './support/handlers.js';
import { expectMetrics, startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { type Deferred, defer, Inbox, nextTurn } from './support/wait.js';

describe.each(placements)('order (%s)', (transport) => {
  it('answers a request with its framed reply', async () => {
    const { connect } = await start({});
    const client = await connect();
    client.send(frame('hello'));
    expect(await client.read(9)).toEqual(Buffer.from('\0\0\0\x05hello'));
  });

  it('answers pipelined requests in their order, however long each takes', async () => {
    const { connect } = await start({
      handler: async (request) => {
        const turns = (request.body.readUInt32BE() * 7) % 5;
        for (let i = 0; i < turns; i++) await nextTurn();
        return request.body;
      },
    });
    const client = await connect();
    const payloads = numbered(1000);
    client.send(frames(payloads));
    for (const payload of payloads) expectBytes(await client.readFrame(), payload);
  });

  it('keeps the order where synchronous and asynchronous answers mix', async () => {
    const { connect } = await start({
      handler: (request) => {
        const number = request.body.readUInt32BE();
        if (number % 3 === 0) return request.body;
        if (number % 3 === 1) return Promise.resolve(request.body);
        return nextTurn().then(() => request.body);
      },
    });
    const client = await connect();
    const payloads = numbered(1000);
    client.send(frames(payloads));
    for (const payload of payloads) expectBytes(await client.readFrame(), payload);
  });

  it('keeps the order of every connection under random delays', async () => {
    const dice = new Dice(11);
    /** Requests in handlers' hands, by connection. */
    const working = new Map<string, number>();
    let mostAtOnce = 0;
    const testServer = await startServer(transport, {
      handler: async ({ body, connection }) => {
        const count = (working.get(connection.id) ?? 0) + 1;
        working.set(connection.id, count);
        mostAtOnce = Math.max(mostAtOnce, count);
        const delay = dice.roll(6);
        if (delay === 1) await Promise.resolve();
        for (let turns = delay === 2 ? dice.roll(8) : 0; turns > 0; turns--) await nextTurn();
        if (delay === 3) await new Promise((resolve) => setTimeout(resolve, dice.roll(3)));
        working.set(connection.id, count - 1);
        return body;
      },
    });
    const clients = await connectMany(testServer, 8);
    const payloads = numbered(300);
    for (const client of clients) client.send(frames(payloads));
    for (const client of clients) {
      for (const payload of payloads) expectBytes(await client.readFrame(), payload);
    }
    expect(mostAtOnce).toBe(1);
  });

  it('has one request of a connection in its handler at a time', async () => {
    const calls = new Inbox<[Request, Deferred<Buffer>]>('a call of the handler');
    const { connect } = await start({
      handler: (request) => {
        const reply = defer<Buffer>();
        calls.push([request, reply]);
        return reply.promise;
      },
    });
    const client = await connect();
    client.send(frames(['a', 'b', 'c']));
    for (const text of ['a', 'b', 'c']) {
      const [request, reply] = await calls.next();
      expect(request.body.toString()).toBe(text);
      for (let i = 0; i < 10; i++) await nextTurn();
      expect(calls.all.at(-1)?.[0]).toBe(request);
      reply.resolve(Buffer.from(text.toUpperCase()));
      expect(await client.readText()).toBe(text.toUpperCase());
    }
    expect(calls.all).toHaveLength(3);
  });

  it('serves one connection while the handler of another one works', async () => {
    const slow = defer<Buffer>();
    const { connect } = await start({
      handler: ({ body }) => (body.toString() === 'slow' ? slow.promise : body),
    });
    const [first, second] = [await connect(), await connect()];
    first.send(frame('slow'));
    for (let i = 0; i < 20; i++) {
      second.send(frame(`quick ${i}`));
      expect(await second.readText()).toBe(`quick ${i}`);
    }
    expect(first.available).toBe(0);
    slow.resolve(Buffer.from('at last'));
    expect(await first.readText()).toBe('at last');
  });

  it('gathers a reply in parts and frames it once', async () => {
    const large = [pattern(100_000, 1), Buffer.from('|'), pattern(50_000, 2)];
    const replies: Record<string, Uint8Array[]> = {
      parts: [Buffer.from('one '), new Uint8Array(0), Buffer.from('two '), Buffer.from('three')],
      none: [],
      empty: [new Uint8Array(0), new Uint8Array(0)],
      large,
    };
    const { connect } = await start({ handler: ({ body }) => replies[body.toString()] ?? body });
    const client = await connect();
    client.send(frames(['parts', 'none', 'empty', 'large', 'end']));
    expect(await client.readText()).toBe('one two three');
    expect(await client.readText()).toBe('');
    expect(await client.readText()).toBe('');
    expectBytes(await client.readFrame(), Buffer.concat(large));
    expect(await client.readText()).toBe('end');
  });

  it('takes noReply for an answer in the middle of pipelined requests', async () => {
    const { server, connect } = await start({
      handler: ({ body }) => {
        const text = body.toString();
        if (text.startsWith('quiet')) return noReply;
        if (text.startsWith('late quiet')) return nextTurn().then(() => noReply);
        return body;
      },
    });
    const client = await connect();
    client.send(
      frames(['quiet 1', 'a', 'quiet 2', 'late quiet', 'b', 'late quiet', 'quiet 3', 'c']),
    );
    expect(await client.readTexts(3)).toEqual(['a', 'b', 'c']);
    expect(client.available).toBe(0);
    await expectMetrics(server, { requestsTotal: 8, responsesTotal: 8 });
  });

  it('sends the replies of requests that came together in one write', async () => {
    const { server, connect } = await start({});
    const client = await connect();
    const payloads = numbered(50);
    client.send(frames(payloads));
    for (const payload of payloads) expectBytes(await client.readFrame(), payload);
    await expectMetrics(server, { responsesTotal: 50 });
    const writes = server.metrics().processors.reduce((sum, each) => sum + each.writeCalls, 0);
    // The kernel may cut what the client sent in one write in two or three.
    expect(writes).toBeGreaterThan(0);
    expect(writes).toBeLessThanOrEqual(3);
  });

  it('has read the bytes of a reply when the handler goes on to change them', async () => {
    const shared = Buffer.alloc(100);
    const { connect } = await start({
      handler: (request) => {
        shared.fill(request.body[0] as number);
        return request.body[0] === 255 ? [shared.subarray(0, 50), shared.subarray(50)] : shared;
      },
    });
    const client = await connect();
    const payloads = Array.from({ length: 256 }, (_, i) => Buffer.of(i));
    client.send(frames(payloads));
    for (let i = 0; i < 256; i++) expectBytes(await client.readFrame(), Buffer.alloc(100, i));
  });

  it('takes bytes whose memory was transferred away for none', async () => {
    const { connect } = await start({
      handler: ({ body }) => {
        const gone = new Uint8Array(100);
        structuredClone(gone.buffer, { transfer: [gone.buffer] });
        return body.length === 1 ? gone : [gone, body, gone];
      },
    });
    const client = await connect();
    client.send(frames(['1', '22', '1']));
    expect(await client.readTexts(3)).toEqual(['', '22', '']);
  });

  it('has read the bytes of large replies too, though the client is slow', async () => {
    const shared = Buffer.alloc(1_048_576);
    const { connect } = await start({
      handler: (request) => {
        shared.fill(request.body[0] as number);
        return shared;
      },
    });
    const client = await connect({ paused: true });
    client.send(frames(Array.from({ length: 24 }, (_, i) => Buffer.of(i))));
    for (let i = 0; i < 50; i++) await nextTurn();
    client.startReading();
    for (let i = 0; i < 24; i++) {
      expectBytes(await client.readFrame(), Buffer.alloc(shared.length, i));
    }
  });

  async function start(options: Parameters<typeof startServer>[1]) {
    const testServer = await startServer(transport, options);
    return { server: testServer.server, connect: testServer.connect.bind(testServer) };
  }
});
