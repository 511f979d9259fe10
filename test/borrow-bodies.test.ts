import { noReply, type Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, pattern } from './support/bytes.js';
import { startPool } from './support/pool.js';
import { startServer } from './support/server.js';
import { isPooled, kindOf, placements } from './support/transports.js';
import { defer, Inbox, until } from './support/wait.js';

/** The core takes the memory of frames from this size on for those to come. */
const lentBytes = 16 * 1024;
const inThread = placements.filter((placement) => !isPooled(placement));
const lending = inThread.filter((placement) => kindOf(placement) === 'native');

describe.each(lending)('a body that is lent (%s)', (transport) => {
  it.each([
    ['as its own reply', (request: Request) => request.body],
    ['in parts of its reply', ({ body }: Request) => [body.subarray(0, 9), body.subarray(9)]],
    ['copied', ({ body }: Request) => Buffer.from(body)],
    ['by a promise', async ({ body }: Request) => body],
  ])('goes back once it is answered, and its bytes arrive whole: %s', async (_how, handler) => {
    const bodies: Buffer[] = [];
    const testServer = await startServer(transport, {
      borrowBodies: true,
      handler: (request) => {
        bodies.push(request.body);
        return handler(request);
      },
    });
    const client = await testServer.connect();
    // Many more than are on their way at once, so memory is used anew.
    for (let seed = 1; seed <= 40; seed++) {
      const payloads = [pattern(lentBytes, seed), pattern(200_000, seed), pattern(65_536, seed)];
      client.send(frames(payloads));
      for (const payload of payloads) expectBytes(await client.readFrame(), payload);
    }
    expect(bodies).toHaveLength(120);
    for (const body of bodies) expect(body.byteLength).toBe(0);
  });

  it('stays as it is while its handler waits, whatever else arrives', async () => {
    const parked = new Inbox<Request>('request');
    const gate = defer();
    const testServer = await startServer(transport, {
      borrowBodies: true,
      handler: async (request) => {
        if (request.body[0] !== 0) return request.body;
        parked.push(request);
        await gate.promise;
        return request.body;
      },
    });
    const [waiting, busy] = [await testServer.connect(), await testServer.connect()];
    const held = Buffer.concat([Buffer.alloc(1), pattern(100_000)]);
    waiting.send(frame(held));
    const { body } = await parked.next();
    for (let i = 0; i < 50; i++) {
      const other = Buffer.alloc(100_001, 0xff);
      busy.send(frame(other));
      expectBytes(await busy.readFrame(), other);
    }
    expectBytes(body, held);
    gate.resolve();
    expectBytes(await waiting.readFrame(), held);
    expect(body.byteLength).toBe(0);
  });

  it('stays with a handler that has taken too long', async () => {
    const late = defer<Buffer>();
    const gate = defer();
    const testServer = await startServer(transport, {
      borrowBodies: true,
      handlerTimeoutMs: 20,
      onHandlerError: () => Buffer.from('late'),
      handler: async ({ body }) => {
        await gate.promise;
        late.resolve(Buffer.from(body));
        return body;
      },
    });
    const client = await testServer.connect();
    client.send(frame(pattern(50_000)));
    expect(await client.readText()).toBe('late');
    gate.resolve();
    expectBytes(await late.promise, pattern(50_000));
  });

  it('goes back where there is no reply, and where its handler failed', async () => {
    const bodies: Buffer[] = [];
    const testServer = await startServer(transport, {
      borrowBodies: true,
      onHandlerError: (_error, { body }) => body.subarray(0, 4),
      handler: ({ body }) => {
        bodies.push(body);
        if (bodies.length === 2) throw new Error('no');
        return noReply;
      },
    });
    const client = await testServer.connect();
    client.send(frames([pattern(50_000), pattern(60_000)]));
    expectBytes(await client.readFrame(), pattern(60_000).subarray(0, 4));
    await until(() => bodies.every((body) => body.byteLength === 0), 'taking back');
  });

  it('waits for its turn where replies are held for earlier ones', async () => {
    const requests: Request[] = [];
    const gates = [defer(), defer()];
    const testServer = await startServer(transport, {
      borrowBodies: true,
      maxInFlightPerConnection: 2,
      handler: async (request) => {
        const gate = gates[requests.push(request) - 1];
        await gate?.promise;
        return request.body;
      },
    });
    const client = await testServer.connect();
    client.send(frames([pattern(50_000, 1), pattern(50_000, 2)]));
    await until(() => requests.length === 2, 'both requests');
    gates[1]?.resolve();
    gates[0]?.resolve();
    expectBytes(await client.readFrame(), pattern(50_000, 1));
    expectBytes(await client.readFrame(), pattern(50_000, 2));
    for (const { body } of requests) expect(body.byteLength).toBe(0);
  });

  it('may be transferred away by its handler, which then has it', async () => {
    let moved: ArrayBuffer | null = null;
    const testServer = await startServer(transport, {
      borrowBodies: true,
      handler: ({ body }) => {
        const { buffer } = body;
        try {
          moved = structuredClone(buffer, { transfer: [buffer as ArrayBuffer] }) as ArrayBuffer;
        } catch {
          // Node forbids it for memory that an addon owns.
        }
        return Buffer.from('done');
      },
    });
    const client = await testServer.connect();
    client.send(frame(pattern(50_000)));
    expect(await client.readText()).toBe('done');
    if (moved !== null) expectBytes(new Uint8Array(moved).subarray(4), pattern(50_000));
    client.send(frame(pattern(50_000, 2)));
    expect(await client.readText()).toBe('done');
  });

  it('is given away after all where it is small', async () => {
    const bodies: Buffer[] = [];
    const testServer = await startServer(transport, {
      borrowBodies: true,
      handler: ({ body }) => {
        bodies.push(body);
        return body;
      },
    });
    const client = await testServer.connect();
    for (const payload of [pattern(100, 1), pattern(10_000, 2)]) {
      client.send(frame(payload));
      expectBytes(await client.readFrame(), payload);
    }
    expectBytes(bodies[0] as Buffer, pattern(100, 1));
    expectBytes(bodies[1] as Buffer, pattern(10_000, 2));
  });
});

describe.each(inThread)('a body that is not lent (%s)', (transport) => {
  it('keeps its bytes, on the js transport whatever borrowBodies says', async () => {
    const bodies: Buffer[] = [];
    const testServer = await startServer(transport, {
      borrowBodies: kindOf(transport) === 'js',
      handler: ({ body }) => {
        bodies.push(body);
        return body;
      },
    });
    const client = await testServer.connect();
    for (let seed = 1; seed <= 20; seed++) {
      client.send(frame(pattern(100_000, seed)));
      expectBytes(await client.readFrame(), pattern(100_000, seed));
    }
    bodies.forEach((body, i) => {
      expectBytes(body, pattern(100_000, i + 1));
    });
  });
});

describe.runIf(lending.length > 0)('a body that is lent to a thread of a pool', () => {
  it('goes back once it is answered', async () => {
    const { testServer } = await startPool('native', {}, { borrowBodies: true });
    const client = await testServer.connect();
    const body = Buffer.alloc(100_000, 'x');
    body.write('keep ');
    for (let i = 0; i < 20; i++) {
      client.send(frame(body));
      expectBytes(await client.readFrame(), body);
    }
    client.send(frame('kept'));
    expect(await client.readText()).toBe('0');
  });

  it('stays with the thread where it is not lent', async () => {
    const { testServer } = await startPool('native');
    const client = await testServer.connect();
    const body = Buffer.alloc(100_000, 'x');
    body.write('keep ');
    client.send(frame(body));
    expectBytes(await client.readFrame(), body);
    client.send(frame('kept'));
    expect(await client.readText()).toBe('100000');
  });
});
