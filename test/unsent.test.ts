import { OdradekError } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, pattern } from './support/bytes.js';
import { expectMetrics, startServer, type TestServerOptions } from './support/server.js';
import { placements } from './support/transports.js';
import { settles, until, within } from './support/wait.js';

const replyBytes = 500_000;
/** More than any kernel takes for a client that doesn't read. */
const many = 64;
const few = 24;

const replyTo = (index: number) => pattern(replyBytes, index);

/** A server that answers a number by many bytes, and how often it was asked. */
async function startLavish(
  transport: (typeof placements)[number],
  options: TestServerOptions<unknown> = {},
) {
  const begun: number[] = [];
  const testServer = await startServer(transport, {
    ...options,
    handler: ({ body }) => {
      const index = body.readUInt8();
      begun.push(index);
      return replyTo(index);
    },
  });
  return { testServer, server: testServer.server, begun };
}

const requests = (count: number) =>
  frames(Array.from({ length: count }, (_, index) => Buffer.of(index)));

describe.each(placements)('maxUnsentBytesPerConnection (%s)', (transport) => {
  const most = 1_000_000;

  /** As much as is begun of a client's requests while it reads nothing. */
  async function startFull(options: TestServerOptions<unknown> = {}) {
    const started = await startLavish(transport, {
      maxUnsentBytesPerConnection: most,
      ...options,
    });
    const client = await started.testServer.connect({ paused: true });
    client.send(requests(many));
    await until(() => started.server.metrics().unsentBytes > 0, 'bytes that are not taken');
    await settles(() => started.begun.length);
    return { ...started, client };
  }

  it('begins no further request while so much has not left, and loses nothing', async () => {
    const { server, begun, client } = await startFull();
    expect(begun.length).toBeLessThan(many);
    expect(server.metrics().unsentBytes).toBeLessThanOrEqual(most + replyBytes + 4);
    client.startReading();
    for (let i = 0; i < many; i++) expectBytes(await client.readFrame(), replyTo(i));
    expect(begun).toEqual(Array.from({ length: many }, (_, index) => index));
    await expectMetrics(server, { unsentBytes: 0, connectionsShedTotal: 0 });
  });

  it('leaves other connections alone', async () => {
    const { testServer } = await startFull();
    const other = await testServer.connect();
    for (let i = 0; i < 5; i++) {
      other.send(frame(Buffer.of(i)));
      expectBytes(await other.readFrame(), replyTo(i));
    }
  });

  it('holds several requests in flight back, too', async () => {
    const { begun, client } = await startFull({ maxInFlightPerConnection: 4 });
    expect(begun.length).toBeLessThan(many);
    client.startReading();
    for (let i = 0; i < many; i++) expectBytes(await client.readFrame(), replyTo(i));
  });

  it('handles what was received of a client that is gone', async () => {
    const { testServer, begun, client } = await startFull();
    client.reset();
    await until(() => begun.length === many, 'all requests');
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET' });
  });

  it('answers everything before close(), once the client reads', async () => {
    const { server, client } = await startFull();
    const end = server.close({ timeoutMs: 9000 });
    client.startReading();
    for (let i = 0; i < many; i++) expectBytes(await client.readFrame(), replyTo(i));
    expect(await within(end, 'the end')).toMatchObject({ cut: 0 });
  });

  it('closes a connection that is pushed to beyond it', async () => {
    const { testServer } = await startLavish(transport, { maxUnsentBytesPerConnection: most });
    const [client, connection] = await testServer.connectBoth({ paused: true });
    let pushes = 0;
    // Within one turn nothing is known to have left.
    expect(connection.send(replyTo(pushes++))).toBe(false);
    expect(connection.send(replyTo(pushes++))).toBe(false);
    expect(connection.send(replyTo(2))).toBe(false);
    expect(() => connection.send(Buffer.from('x'))).toThrow(OdradekError);
    client.startReading();
    for (let i = 0; i < pushes; i++) expectBytes(await client.readFrame(), replyTo(i));
    expect(await client.seeEnd()).toBe('fin');
    expect(await testServer.closed.next()).toMatchObject({ code: 'TOO_MANY_UNSENT_BYTES' });
  });
});

describe.each(placements)('maxUnsentBytes (%s)', (transport) => {
  /** One that owes less, and one that will owe more: it is the larger part of twice as much. */
  async function startOwing(maxUnsentBytes: number) {
    const started = await startLavish(transport, {
      maxUnsentBytes,
      maxUnsentBytesPerConnection: Infinity,
    });
    const less = await started.testServer.connect({ paused: true });
    less.send(requests(few));
    await until(() => started.begun.length === few, 'the requests of the one');
    await until(() => started.server.metrics().unsentBytes > 0, 'bytes that are not taken');
    await settles(() => started.server.metrics().unsentBytes);
    const more = await started.testServer.connect({ paused: true });
    more.send(requests(many));
    return { ...started, less, more };
  }

  it('closes those who owe most, and serves the others', async () => {
    const { testServer, server, less, more } = await startOwing(few * replyBytes * 2);
    expect(await testServer.closed.next()).toMatchObject({ code: 'TOO_MANY_UNSENT_BYTES' });
    more.startReading();
    await more.seeEnd();
    await expectMetrics(server, { connectionsShedTotal: 1, connections: 1 });
    less.startReading();
    for (let i = 0; i < few; i++) expectBytes(await less.readFrame(), replyTo(i));
    await expectMetrics(server, { unsentBytes: 0 });
  });

  it('may be lowered: as many are closed as it takes', async () => {
    const { testServer, server, begun } = await startOwing(Infinity);
    await until(() => begun.length === few + many, 'all requests');
    await settles(() => server.metrics().unsentBytes);
    server.updateLimits({ maxUnsentBytes: 1000 });
    for (let i = 0; i < 2; i++) {
      expect(await testServer.closed.next()).toMatchObject({ code: 'TOO_MANY_UNSENT_BYTES' });
    }
    await expectMetrics(server, { connectionsShedTotal: 2, unsentBytes: 0 });
  });
});
