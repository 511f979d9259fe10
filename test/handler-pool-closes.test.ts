import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames } from './support/bytes.js';
import { expectSeesAnotherEnd } from './support/handlers.js';
import { poolTransports, type StartedPool, startPool } from './support/pool.js';
import { expectMetrics } from './support/server.js';
import { until } from './support/wait.js';

const affinities = ['any', 'connection'] as const;

describe.each(poolTransports)('closes with a handler pool (%s)', (transport) => {
  /** Every thread has heard what `onHandlerError` made of the errors before. */
  async function expectHeard({ testServer }: StartedPool): Promise<void> {
    const client = await testServer.connect();
    client.send(frame('throw'));
    expect(await client.readText()).toBe('heard');
    client.end();
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED' });
    await testServer.errors.next();
  }

  function startFailing(maxInFlightPerConnection: number) {
    return startPool(
      transport,
      { affinity: 'connection' },
      {
        maxInFlightPerConnection,
        onHandlerError: (error) => (error instanceof RangeError ? Buffer.from('heard') : undefined),
      },
    );
  }

  describe.each(['rejectLater', 'nonsenseLater'])('by a failed handler (%s)', (command) => {
    it('come in order, and abort what runs behind', async () => {
      const pool = await startFailing(3);
      const { testServer, shared } = pool;
      const [first, second] = [shared.gate(), shared.gate()];
      const client = await testServer.connect();
      client.send(frames([`park ${first}`, `${command} ${second}`, 'signal', 'echo 1', 'echo 2']));
      await until(() => shared.count('begun') === 3, 'three of them');
      shared.open(second);
      await testServer.errors.next();
      await expectHeard(pool);
      expect(shared.count('aborted')).toBe(0);
      expect(client.available).toBe(0);
      shared.open(first);
      expectBytes(await client.readToEnd(), frame(`park ${first}`));
      await until(() => shared.count('aborted') === 1, 'the abort');
      expect(await testServer.closed.next()).toMatchObject({
        code: 'HANDLER_ERROR',
        unanswered: 4,
      });
      // Those three, and the one of the other connection.
      expect(shared.count('begun')).toBe(4);
      await expectMetrics(testServer.server, { pendingRequests: 0, requestsInFlight: 0 });
    });

    it('drop replies that wait behind them', async () => {
      const pool = await startFailing(3);
      const { testServer, shared } = pool;
      const [first, second] = [shared.gate(), shared.gate()];
      const client = await testServer.connect();
      client.send(
        frames([`park ${first}`, `${command} ${second}`, 'unsent HANDLER_ERROR', 'echo 1']),
      );
      await until(() => shared.count('begun') === 3, 'three of them');
      shared.open(second);
      await testServer.errors.next();
      await expectHeard(pool);
      shared.open(first);
      expectBytes(await client.readToEnd(), frame(`park ${first}`));
      expect(await testServer.closed.next()).toMatchObject({
        code: 'HANDLER_ERROR',
        unanswered: 3,
      });
      await until(() => shared.count('sent') === 1, 'the fate of the reply');
      expect(shared.count('begun')).toBe(4);
    });
  });

  describe.each(affinities)("on the server's thread (affinity '%s')", (affinity) => {
    it.each([
      ['is known to the thread', ['echo hello']],
      ['the thread meets only now', []],
    ])('spare the handler what waits for room, of a connection that %s', async (_name, before) => {
      const { testServer, shared } = await startPool(transport, { affinity, concurrency: 1 });
      const [blocking] = await testServer.connectBoth();
      const [closing, connection] = await testServer.connectBoth();
      const [last] = await testServer.connectBoth();
      for (const text of before) {
        closing.send(frame(text));
        expect(await closing.readText()).toBe(text);
      }
      const gate = shared.gate();
      blocking.send(frame(`park ${gate}`));
      await until(() => shared.count('begun') === before.length + 1, 'the block');
      closing.send(frames(['echo 1', 'echo 2']));
      await expectMetrics(testServer.server, { requestQueueSize: 2 });
      last.send(frame('echo on'));
      await expectMetrics(testServer.server, { requestQueueSize: 3 });
      connection.close('enough');
      expect((await closing.readToEnd()).length).toBe(0);
      shared.open(gate);
      expect(await blocking.readText()).toBe(`park ${gate}`);
      expect(await last.readText()).toBe('echo on');
      const reason = await testServer.closed.next();
      expect(reason).toMatchObject({ code: 'CLOSED_BY_SERVICE', unanswered: 2 });
      expect(shared.count('begun')).toBe(before.length + 2);
    });

    it('spare the handler what waits behind a request in work', async () => {
      const { testServer, shared } = await startPool(transport, { affinity });
      const [client, connection] = await testServer.connectBoth();
      const gate = shared.gate();
      client.send(frames([`park ${gate}`, 'echo 1', 'echo 2']));
      await until(() => shared.count('begun') === 1, 'the first request');
      connection.close();
      expect((await client.readToEnd()).length).toBe(0);
      await expectSeesAnotherEnd(testServer);
      expect(testServer.closed.all).toHaveLength(1);
      shared.open(gate);
      const reason = await testServer.closed.next();
      expect(reason).toMatchObject({ code: 'CLOSED_BY_SERVICE', unanswered: 3 });
      expect(shared.count('begun')).toBe(1);
    });
  });
});
