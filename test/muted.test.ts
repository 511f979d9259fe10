import type { Request } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, pattern } from './support/bytes.js';
import { expectSeesAnotherEnd, startWithheld } from './support/handlers.js';
import type { TestServer } from './support/server.js';
import { placements } from './support/transports.js';
import { settles } from './support/wait.js';

/** What the loops did so far: at rest it stays the same. */
function work({ server }: TestServer): number {
  return server
    .metrics()
    .processors.reduce((sum, each) => sum + each.turns + each.readCalls + each.pollCalls, 0);
}

/**
 * A muted connection is not read, so nobody takes the end of its input away: a loop that is told of
 * it again and again would spin.
 */
describe.each(placements)('a muted connection whose client leaves (%s)', (transport) => {
  const behind = frames(['b', 'c']);
  const tooMuch = frame(pattern(3_000_000));

  it.each<[string, Buffer]>([
    ['half-closes', Buffer.alloc(0)],
    ['half-closes behind unread requests', behind],
    ['half-closes behind more than is read', tooMuch],
  ])(
    '%s: costs nothing until it is unmuted, and then everything is answered',
    async (_n, bytes) => {
      const { testServer, requests, answer, client } = await mute();
      client.send(bytes);
      await expectRest(testServer, () => client.end());
      expect(testServer.closed.all).toHaveLength(1);
      answer.resolve(Buffer.from('done'));
      const count = bytes === behind ? 3 : bytes === tooMuch ? 2 : 1;
      const answers = Array.from({ length: count }, () => 'done');
      expectBytes(await client.readToEnd(), frames(answers));
      expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
      expect(requests.all).toHaveLength(count);
      expect(requests.all[0]?.signal.aborted).toBe(false);
    },
  );

  it.each<[string, Buffer]>([
    ['resets', Buffer.alloc(0)],
    ['resets behind more than is read', tooMuch],
  ])('%s: costs nothing, and ends once', async (_name, bytes) => {
    const { testServer, requests, answer, client } = await mute();
    client.send(bytes);
    await expectRest(testServer, () => client.reset());
    expect(testServer.closed.all).toHaveLength(1);
    answer.resolve(Buffer.from('done'));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET' });
    expect(requests.all).toHaveLength(1);
    await expectSeesAnotherEnd(testServer);
    expect(testServer.closed.all).toHaveLength(3);
  });

  /** A connection with one request in its handler. */
  async function mute() {
    const withheld = await startWithheld(transport);
    const client = await withheld.testServer.connect();
    client.send(frame('a'));
    const request: Request = await withheld.requests.next();
    expect(request.signal.aborted).toBe(false);
    return { ...withheld, client };
  }

  /**
   * The client leaves, and another client's end is seen after that; then the loops have nothing to
   * do. A few turns each are all that the two ends may take.
   */
  async function expectRest(testServer: TestServer, leave: () => void): Promise<void> {
    await settles(() => work(testServer));
    const before = work(testServer);
    leave();
    await expectSeesAnotherEnd(testServer);
    await settles(() => work(testServer));
    expect(work(testServer) - before).toBeLessThan(40);
  }
});
