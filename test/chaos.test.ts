import { noReply, type Reply, type Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, pattern } from './support/bytes.js';
import type { Client } from './support/client.js';
import { Dice } from './support/dice.js';
import { expectMetrics, startServer, type TestServer } from './support/server.js';
import { placements } from './support/transports.js';
import { nextTurn, until, within } from './support/wait.js';

/**
 * Many clients at once that each send frames of mixed sizes in pieces of mixed sizes, to a handler
 * that answers by its first byte: at once, later, in parts or not at all. What each client reads is
 * exactly what it must, and nothing is left behind.
 */
describe.each(placements)('chaos (%s)', (transport) => {
  it.each([
    [1, {}],
    [2, { queuedMaxRequests: 3, maxPendingRequests: 5 }],
    [3, { queuedMaxRequests: 1, maxPendingRequests: 1 }],
    [4, { networkThreads: 4, isolateBodies: true }],
    [5, { maxInFlightPerConnection: 7 }],
    [6, { maxInFlightPerConnection: 3, queuedMaxRequests: 2, maxPendingRequests: 4 }],
    [7, { queuedMaxRequestBytes: 3000 }],
    [8, { queuedMaxRequestBytes: 20_000, maxInFlightPerConnection: 5, networkThreads: 3 }],
  ])('run %i', async (seed, options) => {
    const testServer = await startServer(transport, { ...options, handler });
    const clients = Array.from({ length: 30 }, (_, i) =>
      converse(testServer, new Dice(seed * 100 + i)),
    );
    const resets = Array.from({ length: 10 }, (_, i) =>
      leave(testServer, new Dice(seed * 100 + 50 + i)),
    );
    await within(Promise.all([...clients, ...resets]), 'every conversation', 20_000);
    const { server } = testServer;
    await until(() => server.metrics().connections === 0, 'every end');
    await expectMetrics(server, {
      pendingRequests: 0,
      requestQueueSize: 0,
      connectionsWaitingForRoom: 0,
      connectionsWaitingForMemory: 0,
      memoryPoolUsed: 0,
      requestsInFlight: 0,
      handlerErrorsTotal: 0,
    });
    const unanswered = testServer.closed.all.reduce((sum, reason) => sum + reason.unanswered, 0);
    expect(server.metrics().responsesTotal + unanswered).toBe(server.metrics().requestsTotal);
  });
});

function handler({ body }: Request): Reply | Promise<Reply> {
  const kind = body.length === 0 ? 0 : (body[0] as number) % 5;
  switch (kind) {
    case 0:
      return body;
    case 1:
      return [body.subarray(0, 1), body.subarray(1)];
    case 2:
      return Promise.resolve(body);
    case 3:
      return nextTurn().then(() => body);
    default:
      return noReply;
  }
}

/** Frames of mixed sizes; a few are large. */
function makePayloads(dice: Dice): Buffer[] {
  return Array.from({ length: 1 + dice.roll(60) }, () => {
    const size = dice.roll(20) === 0 ? dice.roll(150_000) : dice.roll(300);
    return pattern(size, dice.roll(1_000_000));
  });
}

async function sendAll(client: Client, payloads: readonly Buffer[], dice: Dice): Promise<void> {
  const bytes = Buffer.concat(payloads.map(frame));
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + dice.roll(dice.roll(2) === 0 ? 50 : 40_000);
    client.send(bytes.subarray(at, end));
    at = end;
    if (dice.roll(4) === 0) await nextTurn();
  }
}

/** A client that reads every answer; some half-close first, some read late. */
async function converse(testServer: TestServer, dice: Dice): Promise<void> {
  const client = await testServer.connect({ paused: true });
  const payloads = makePayloads(dice);
  const answers = payloads.filter(
    (payload) => payload.length === 0 || (payload[0] as number) % 5 !== 4,
  );
  const sending = sendAll(client, payloads, dice);
  for (let turns = dice.roll(20); turns > 0; turns--) await nextTurn();
  client.startReading();
  if (dice.roll(2) === 0) {
    await sending;
    client.end();
    expectBytes(await client.readToEnd(), Buffer.concat(answers.map(frame)));
  } else {
    for (const answer of answers) expectBytes(await client.readFrame(), answer);
    await sending;
    client.end();
    expect(await client.readToEnd()).toHaveLength(0);
  }
}

/** A client that is gone in the middle of it. */
async function leave(testServer: TestServer, dice: Dice): Promise<void> {
  const client = await testServer.connect({ paused: dice.roll(2) === 0 });
  void sendAll(client, makePayloads(dice), dice);
  for (let turns = dice.roll(20); turns > 0; turns--) await nextTurn();
  client.reset();
}
