import { closeConnection, OdradekError, type Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { frame, frames } from './support/bytes.js';
import type { Client } from './support/client.js';
import { connectMany } from './support/handlers.js';
import { poolTransports, startPool } from './support/pool.js';
import { expectMetrics, type TestServer } from './support/server.js';
import { until } from './support/wait.js';

/** The answers to commands, each sent when the one before was answered. */
async function ask(client: Client, ...commands: string[]): Promise<string[]> {
  const answers: string[] = [];
  for (const command of commands) {
    client.send(frame(command));
    answers.push(await client.readText());
  }
  return answers;
}

async function inFlight(testServer: TestServer, ...expected: number[]): Promise<void> {
  const handlerThreads = expected.map((count) => expect.objectContaining({ inFlight: count }));
  await expectMetrics(testServer.server, { handlerThreads });
}

describe.each(poolTransports)('a handler pool (%s)', (transport) => {
  describe('a reply', () => {
    it.each<[string, string, string]>([
      ['the body itself', 'echo hello', 'echo hello'],
      ['parts', 'parts', 'abc'],
      ['a promise', 'soon', 'soon'],
      ['bytes whose memory was transferred away, which are none', 'gone', 'gone'],
      ['a large one', 'big 3000000', 'x'.repeat(3_000_000)],
    ])('may be %s', async (_name, command, reply) => {
      const { testServer } = await startPool(transport);
      const client = await testServer.connect();
      expect(await ask(client, command)).toEqual([reply]);
    });

    it('may be none, and leaves the order', async () => {
      const { testServer } = await startPool(transport, { threads: 2 });
      const client = await testServer.connect();
      client.send(frames(['echo 1', 'none', 'echo 2', 'none', 'soon', 'parts']));
      expect(await client.readTexts(4)).toEqual(['echo 1', 'echo 2', 'soon', 'abc']);
      await expectMetrics(testServer.server, { responsesTotal: 6, requestsInFlight: 0 });
    });

    it.each([
      ['close', ''],
      ['last word', '\0\0\0\x09last word'],
    ])('may close the connection (%s)', async (command, bytes) => {
      const { testServer } = await startPool(transport);
      const client = await testServer.connect();
      client.send(frame(command));
      expect((await client.readToEnd()).toString()).toBe(bytes);
      expect(await testServer.closed.next()).toMatchObject({ code: 'CLOSED_BY_HANDLER' });
    });

    it('may come from megabytes, which the handler gets as they were sent', async () => {
      const { testServer } = await startPool(transport);
      const client = await testServer.connect();
      const body = Buffer.alloc(3_000_000, 'echo and ');
      client.send(frame(body));
      expect(Buffer.compare(await client.readFrame(), body)).toBe(0);
    });
  });

  describe('an error of a handler', () => {
    async function failing(command: string) {
      const errors: unknown[] = [];
      const bodies: string[] = [];
      const { testServer } = await startPool(
        transport,
        {},
        {
          onHandlerError: (error, request) => {
            errors.push(error);
            bodies.push(request.body.toString());
            return Buffer.from('failed');
          },
        },
      );
      const client = await testServer.connect();
      expect(await ask(client, command, 'echo on')).toEqual(['failed', 'echo on']);
      expect(bodies).toEqual([command]);
      expect(testServer.errors.all.map(({ error }) => error)).toEqual(errors);
      return errors[0];
    }

    it('reaches onHandlerError with its name, message, stack, properties and cause', async () => {
      const error = await failing('throw');
      expect(error).toBeInstanceOf(RangeError);
      expect(error).toMatchObject({
        name: 'RangeError',
        message: 'not in range',
        code: 'E_RANGE',
        detail: { at: 3 },
        call: 'function call',
        cause: new Error('why'),
      });
      expect((error as Error).stack).toMatch(/not in range\n +at .*commands\.mjs/);
    });

    it.each<[string, unknown]>([
      ['throwValue', { a: 1 }],
      ['throwFunction', new Error('function nothing')],
      ['reject', new Error('rejected')],
    ])('may be anything (%s)', async (command, expected) => {
      expect(await failing(command)).toEqual(expected);
    });

    it('is coded where odradek makes it', async () => {
      const error = await failing('nonsense');
      expect(error).toBeInstanceOf(OdradekError);
      expect(error).toMatchObject({ name: 'OdradekError', code: 'ERR_ODRADEK_INVALID_REPLY' });
      expect((error as Error).message).toMatch(/^A handler returned .* got "nonsense"$/);
    });

    it('closes the connection where onHandlerError makes no reply', async () => {
      const { testServer } = await startPool(transport);
      const client = await testServer.connect();
      client.send(frames(['echo 1', 'throw', 'echo 2']));
      expect(await client.readText()).toBe('echo 1');
      expect((await client.readToEnd()).length).toBe(0);
      const reason = await testServer.closed.next();
      expect(reason).toMatchObject({ code: 'HANDLER_ERROR', unanswered: 2 });
    });

    it('is reported each time that a promise settles again', async () => {
      const { testServer } = await startPool(transport);
      const client = await testServer.connect();
      expect(await ask(client, 'thrice', 'echo on')).toEqual(['first', 'echo on']);
      for (let i = 0; i < 2; i++) {
        const { error } = await testServer.errors.next();
        expect(error).toMatchObject({ code: 'ERR_ODRADEK_ALREADY_ANSWERED' });
      }
    });
  });

  describe('a request', () => {
    it('says of its connection what the server says', async () => {
      const { testServer } = await startPool(transport);
      const [client, connection] = await testServer.connectBoth();
      const [facts] = await ask(client, 'facts');
      const { id, listener, remoteAddress, remotePort } = connection;
      expect(JSON.parse(facts as string)).toEqual({ id, listener, remoteAddress, remotePort });
    });

    it("was received on the scale of the thread's own clock", async () => {
      const { testServer } = await startPool(transport);
      const client = await testServer.connect();
      const sentAt = performance.now();
      const [age] = await ask(client, 'age');
      expect(Number(age)).toBeGreaterThanOrEqual(0);
      expect(Number(age)).toBeLessThanOrEqual(performance.now() - sentAt);
    });

    it('has a state of its connection in the thread', async () => {
      const { testServer } = await startPool(transport);
      const [client, other] = await connectMany(testServer, 2);
      expect(await ask(client as Client, 'count', 'count', 'count')).toEqual(['0:1', '0:2', '0:3']);
      expect(await ask(other as Client, 'count')).toEqual(['0:1']);
      await until(() => testServer.opened.all.length === 2, 'both connections');
      expect(testServer.opened.all.map(({ state }) => state)).toEqual([undefined, undefined]);
    });

    it('has a signal, which aborts with the connection', async () => {
      const { testServer, shared } = await startPool(transport);
      const [client, connection] = await testServer.connectBoth();
      client.send(frame('signal'));
      await until(() => shared.count('begun') === 1, 'the request');
      connection.close();
      await until(() => shared.count('aborted') === 1, 'the abort');
      await until(() => shared.count('sent') === 1, 'its reason');
    });

    it('has a signal, which aborts at once where its own handler closes the connection', async () => {
      const { testServer, shared } = await startPool(transport);
      const client = await testServer.connect();
      client.send(frame('closeAndLook'));
      expect((await client.readToEnd()).length).toBe(0);
      await until(() => shared.count('aborted') === 2, 'both signals');
    });

    it('has a signal, which aborts at the deadline of close(), before the teardown', async () => {
      const { testServer, shared } = await startPool(transport);
      const client = await testServer.connect();
      client.send(frame('signal'));
      await until(() => shared.count('begun') === 1, 'the request');
      await testServer.server.close({ timeoutMs: 0 });
      expect([shared.count('aborted'), shared.count('teardowns')]).toEqual([1, 1]);
    });

    it('hears that its reply was sent', async () => {
      const { testServer, shared } = await startPool(transport);
      const client = await testServer.connect();
      expect(await ask(client, 'sent')).toEqual(['sent']);
      await until(() => shared.count('sent') === 1, 'the word');
    });

    it('is told so if it asks too late', async () => {
      const { testServer, shared } = await startPool(transport);
      const client = await testServer.connect();
      expect(await ask(client, 'sentLate')).toEqual(['sentLate']);
      await until(() => shared.count('sent') === 1, 'the word');
    });

    it('may close its connection', async () => {
      const { testServer } = await startPool(transport);
      const client = await testServer.connect();
      client.send(frames(['echo 1', 'hangUp', 'echo 2']));
      expect(await client.readText()).toBe('echo 1');
      expect((await client.readToEnd()).length).toBe(0);
      expect(await testServer.closed.next()).toEqual({
        code: 'CLOSED_BY_SERVICE',
        message: 'the service closed the connection: by the worker',
        unanswered: 2,
      });
    });

    it('may change the framing of what follows', async () => {
      const { testServer } = await startPool(transport, { threads: 2 });
      const client = await testServer.connect();
      client.send(frame('lines'), Buffer.from('echo a\necho b\n'));
      expect(await client.readText()).toBe('lines');
      expect((await client.read(14)).toString()).toBe('echo a\necho b\n');
    });

    it('fails where the framing may not be changed any more', async () => {
      const { testServer, shared } = await startPool(
        transport,
        {},
        { maxInFlightPerConnection: 2, onHandlerError: () => Buffer.from('failed') },
      );
      const client = await testServer.connect();
      const [gate, last] = [shared.gate(), shared.gate()];
      client.send(frames([`linesLater ${gate}`, `park ${last}`]));
      await until(() => shared.count('begun') === 2, 'both requests');
      shared.open(gate);
      expect(await client.readText()).toBe('failed');
      expect(testServer.errors.all[0]?.error).toMatchObject({ code: 'ERR_ODRADEK_SET_FRAMING' });
      shared.open(last);
      expect(await client.readText()).toBe(`park ${last}`);
    });

    it('may not change the framing once it is answered', async () => {
      const { testServer, shared } = await startPool(transport);
      const client = await testServer.connect();
      expect(await ask(client, 'linesNever')).toEqual(['linesNever']);
      await until(() => shared.count('sent') === 1, 'the error');
    });

    it('finds its hooks on the thread of the server', async () => {
      const story: string[] = [];
      const { testServer } = await startPool(
        transport,
        {},
        {
          onConnect: () => Buffer.from('welcome'),
          onDisconnect: (_connection, { code }) => {
            story.push(code);
          },
          onHandlerError: (_error: unknown, request: Request) => {
            story.push(request.body.toString());
            return closeConnection;
          },
        },
      );
      const client = await testServer.connect();
      expect(await client.readText()).toBe('welcome');
      client.send(frame('throw'));
      await client.readToEnd();
      await testServer.closed.next();
      expect(story).toEqual(['throw', 'CLOSED_BY_HANDLER']);
    });
  });

  describe('threads', () => {
    it('begin no more at once than concurrency says', async () => {
      const { testServer, shared } = await startPool(transport, { threads: 2, concurrency: 3 });
      const clients = await connectMany(testServer, 10);
      const gate = shared.gate();
      for (const client of clients) client.send(frame(`park ${gate}`));
      await inFlight(testServer, 3, 3);
      await expectMetrics(testServer.server, { requestsTotal: 10, requestQueueSize: 4 });
      await until(() => shared.count('begun') === 6, 'the sixth');
      shared.open(gate);
      for (const client of clients) expect(await client.readText()).toBe(`park ${gate}`);
      expect(shared.count('begun')).toBe(10);
      await inFlight(testServer, 0, 0);
    });

    it('are spared what they could not begin: none queues behind a blocked one', async () => {
      const { testServer, shared } = await startPool(transport, { threads: 2 });
      const [blocking, ...others] = await connectMany(testServer, 20);
      const gate = shared.gate();
      blocking?.send(frame(`block ${gate}`));
      await until(() => shared.count('begun') === 1, 'the block');
      for (const client of others) client.send(frames(['thread', 'thread', 'thread']));
      const answers = new Set<string>();
      for (const client of others) for (const text of await client.readTexts(3)) answers.add(text);
      expect(answers.size).toBe(1);
      shared.open(gate);
      expect(await blocking?.readText()).toBe(`block ${gate}`);
    });

    it('leave what comes to an idle one, while they wait for something', async () => {
      const { testServer, shared } = await startPool(transport, { threads: 2 });
      const [waiting, blocking] = (await connectMany(testServer, 2)) as [Client, Client];
      const inFlights = () => testServer.server.metrics().handlerThreads.map((one) => one.inFlight);
      let left = 0;
      for (let round = 1; round <= 10; round++) {
        const [parked, blocked] = [shared.gate(), shared.gate()];
        waiting.send(frame(`park ${parked}`));
        await until(() => shared.count('begun') === 2 * round - 1, 'the one that waits');
        blocking.send(frame(`block ${blocked}`));
        await until(() => shared.count('begun') === 2 * round, 'the block');
        if (`${inFlights()}` === '1,1') left++;
        shared.open(parked);
        shared.open(blocked);
        expect(await waiting.readText()).toBe(`park ${parked}`);
        expect(await blocking.readText()).toBe(`block ${blocked}`);
      }
      // The one that waits may be awake at that moment, and be first where the machine is busy.
      expect(left).toBeGreaterThanOrEqual(8);
    });

    // The js transport can't tell whether a thread's event loop is free.
    it.runIf(transport === 'native')(
      'hold up nobody while they are at work in what a promise began',
      async () => {
        const { testServer, shared } = await startPool(transport, { threads: 2 });
        const [computing, waiting, client] = (await connectMany(testServer, 3)) as Client[];
        const [first, second, third] = [shared.gate(), shared.gate(), shared.gate()];
        computing?.send(frame(`parkAndBlock ${first},${second}`));
        await until(() => shared.count('begun') === 1, 'the first request');
        waiting?.send(frame(`park ${third}`));
        // Whichever thread has it: either may take it while both wait.
        await until(() => shared.count('begun') === 2, 'the second request');
        shared.open(first);
        await until(() => shared.count('aborted') === 1, 'the block');
        for (let i = 0; i < 50; i++) {
          expect(await ask(client as Client, `echo ${i}`)).toEqual([`echo ${i}`]);
        }
        shared.open(second);
        expect(await computing?.readText()).toBe(`parkAndBlock ${first},${second}`);
        shared.open(third);
        expect(await waiting?.readText()).toBe(`park ${third}`);
      },
    );

    it('share requests out: one that is idle gets the next', async () => {
      const { testServer, shared } = await startPool(transport, { threads: 3 });
      const clients = await connectMany(testServer, 3);
      const gate = shared.gate();
      for (const client of clients) client.send(frame(`block ${gate}`));
      await until(() => shared.count('begun') === 3, 'all of them');
      await inFlight(testServer, 1, 1, 1);
      shared.open(gate);
      for (const client of clients) expect(await client.readText()).toBe(`block ${gate}`);
    });

    it('run requests of one connection at once, if asked to, and replies keep their order', async () => {
      const { testServer, shared } = await startPool(
        transport,
        { threads: 2 },
        { maxInFlightPerConnection: 3 },
      );
      const client = await testServer.connect();
      const [first, second] = [shared.gate(), shared.gate()];
      client.send(frames([`block ${first}`, `block ${second}`, 'echo 1', 'echo 2', 'echo 3']));
      await until(() => shared.count('begun') === 2, 'two of them');
      await inFlight(testServer, 1, 1);
      shared.open(second);
      await until(() => shared.count('begun') === 3, 'the third');
      expect(client.available).toBe(0);
      shared.open(first);
      expect(await client.readTexts(5)).toEqual([
        `block ${first}`,
        `block ${second}`,
        'echo 1',
        'echo 2',
        'echo 3',
      ]);
    });

    it('mute connections where the queue is full, and lose nothing', async () => {
      const { testServer, shared } = await startPool(
        transport,
        { concurrency: 1 },
        { queuedMaxRequests: 4, networkThreads: 1 },
      );
      const clients = await connectMany(testServer, 12);
      const gate = shared.gate();
      clients[0]?.send(frame(`park ${gate}`));
      await inFlight(testServer, 1);
      for (const client of clients.slice(1)) client.send(frames(['echo 1', 'echo 2']));
      await expectMetrics(testServer.server, { requestQueueSize: 4 });
      await until(() => testServer.server.metrics().connectionsWaitingForRoom > 0, 'waiting');
      shared.open(gate);
      for (const client of clients.slice(1)) {
        expect(await client.readTexts(2)).toEqual(['echo 1', 'echo 2']);
      }
      await expectMetrics(testServer.server, { requestQueueSize: 0, responsesTotal: 23 });
    });
  });

  describe("affinity 'connection'", () => {
    it('gives every request of a connection to one thread, and spreads connections', async () => {
      const { testServer } = await startPool(transport, { threads: 3, affinity: 'connection' });
      const clients = await connectMany(testServer, 9);
      const threads: (string | undefined)[] = [];
      for (const client of clients) {
        const answers = await ask(client, 'count', 'count', 'count');
        const thread = answers[0]?.[0];
        expect(answers).toEqual([`${thread}:1`, `${thread}:2`, `${thread}:3`]);
        threads.push(thread);
      }
      expect(threads.sort()).toEqual(['0', '0', '0', '1', '1', '1', '2', '2', '2']);
    });

    it('counts connections that are still there', async () => {
      const { testServer } = await startPool(transport, { threads: 2, affinity: 'connection' });
      const [stays, ...leave] = await connectMany(testServer, 4);
      const [thread] = await ask(stays as Client, 'thread');
      for (const client of leave) {
        await ask(client, 'thread');
        client.end();
        await testServer.closed.next();
      }
      const next = await testServer.connect();
      expect(await ask(next, 'thread')).not.toEqual([thread]);
    });

    it('lets requests of other threads pass those of a blocked one', async () => {
      const { testServer, shared } = await startPool(transport, {
        threads: 2,
        affinity: 'connection',
      });
      const [a, b, c] = (await connectMany(testServer, 3)) as [Client, Client, Client];
      const [onA] = await ask(a, 'thread');
      const [onB] = await ask(b, 'thread');
      const [onC] = await ask(c, 'thread');
      expect(onB).not.toBe(onA);
      const same = onC === onA ? a : b;
      const other = same === a ? b : a;
      const gate = shared.gate();
      c.send(frame(`block ${gate}`));
      await until(() => shared.count('begun') === 4, 'the block');
      same.send(frame('echo late'));
      await expectMetrics(testServer.server, { requestQueueSize: 1 });
      expect(await ask(other, 'echo 1', 'echo 2')).toEqual(['echo 1', 'echo 2']);
      await expectMetrics(testServer.server, { requestQueueSize: 1 });
      shared.open(gate);
      expect(await same.readText()).toBe('echo late');
      expect(await c.readText()).toBe(`block ${gate}`);
    });
  });
});
