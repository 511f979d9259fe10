import { describe, expect, it } from 'vitest';
import { frame, frames } from './support/bytes.js';
import { startServer } from './support/server.js';
import { placements } from './support/transports.js';

describe.each(placements)('busyPollUs (%s)', (placement) => {
  it('changes when a server sleeps, and nothing of what it does', async () => {
    const testServer = await startServer(placement, {
      busyPollUs: 200,
      handler: ({ body }) => (body.byteLength > 1 ? Promise.resolve(body) : body),
    });
    const client = await testServer.connect();
    for (let i = 0; i < 50; i++) {
      client.send(frame(`request ${i}`));
      expect(await client.readText()).toBe(`request ${i}`);
    }
    client.send(frames(['a', 'bb', 'c']));
    expect(await client.readTexts(3)).toEqual(['a', 'bb', 'c']);
    await testServer.server.close();
    expect(testServer.closed.all.map(({ code }) => code)).toEqual(['SERVER_CLOSED']);
  });
});
