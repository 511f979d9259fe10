// The load generator against servers that answer rightly and wrongly: a wrong one can't win.
import { beforeAll, describe, expect, it } from 'vitest';
import { buildLoad, holdIdle, runLoad } from '../../bench/load.mjs';
import { echo, isLinux, type Serving, serve } from './support.js';

/** Ends after a few requests; the seconds are a bound. */
const some = { warmupSeconds: 0, seconds: 10, requests: 50 };
const unpinned = { isPinned: false };

describe.skipIf(!isLinux)('the load generator', () => {
  beforeAll(buildLoad, 300_000);

  it('counts the replies of an echo, whatever the pipeline', async () => {
    const { port } = await serve(echo);
    const result = await runLoad({ ...some, port, connections: 3, pipeline: 5 }, unpinned);
    expect(result.requests).toBeGreaterThan(0);
    expect(result.latencyUs.count).toBe(result.requests);
    expect(result.latencyUs.p50).toBeLessThanOrEqual(result.latencyUs.p999);
    expect(result.perSecond).toBeCloseTo(result.requests / result.seconds, 0);
  });

  it('says when the measured time begins and ends', async () => {
    const { port } = await serve(echo);
    const seen: string[] = [];
    const onMeasuring = () => seen.push('measuring');
    const onMeasured = () => seen.push('measured');
    await runLoad({ ...some, port }, { ...unpinned, onMeasuring, onMeasured });
    expect(seen).toEqual(['measuring', 'measured']);
  });

  it.each([
    [
      'a wrong byte',
      (chunk: Buffer) => chunk.fill(0, chunk.length - 1),
      /differs from its request/,
    ],
    ['too many bytes', (chunk: Buffer) => Buffer.concat([chunk, chunk]), /bytes came where/],
  ])('fails on %s', async (_what, change, message) => {
    const { port } = await serve((socket, chunk) => socket.write(change(chunk)));
    await expect(runLoad({ ...some, port, connections: 1 }, unpinned)).rejects.toThrow(message);
  });

  it('fails when the server closes a connection', async () => {
    const { port } = await serve((socket) => socket.end());
    await expect(runLoad({ ...some, port }, unpinned)).rejects.toThrow(/closed a connection/);
  });

  it('fails when nobody listens', async () => {
    const { port, close } = await serve(echo);
    await close();
    await expect(runLoad({ ...some, port }, unpinned)).rejects.toThrow(/refused/);
  });

  it('counts at a fixed rate what was never answered', async () => {
    const { port } = await serve(() => {});
    const result = await runLoad(
      { ...some, port, seconds: 0.05, connections: 2, rate: 1000 },
      unpinned,
    );
    expect(result.requests).toBe(0);
    expect(result.unanswered).toBeGreaterThan(0);
    expect(result.latencyUs.count).toBe(result.unanswered);
  });

  it('keeps marked requests apart', async () => {
    const marks = new Set<number>();
    const { port } = await serve((socket, chunk) => {
      marks.add(chunk[4] as number);
      socket.write(chunk);
    });
    const flags = { ...some, port, connections: 1, markEvery: 2 };
    const result = await runLoad(flags, unpinned);
    expect([...marks].sort()).toEqual(['.', 'M'].map((mark) => mark.charCodeAt(0)));
    expect(result.markedLatencyUs.count).toBeGreaterThan(0);
    expect(result.markedLatencyUs.count + result.latencyUs.count).toBe(result.requests);
  });

  it('makes a connection for each request of a storm', async () => {
    const { port, connections } = await serve(echo);
    const flags = { ...some, port, mode: 'storm', connections: 4 };
    const result = await runLoad(flags, unpinned);
    expect(result.requests).toBeGreaterThan(0);
    expect(connections()).toBeGreaterThanOrEqual(result.requests);
  });

  it('holds idle connections that have carried one request', async () => {
    const { port, connections } = await serve(echo);
    const idle = await holdIdle({ port, connections: 100, bodyBytes: 1000 });
    expect(connections()).toBe(100);
    await idle.end();
  });

  describe('with a Kafka request', () => {
    // ApiVersions, version 0, correlation id 7, client id "bench".
    const requestHex = '0000000f001200000000000700056265 6e6368'.replace(' ', '');
    const flags = { ...some, requestHex, connections: 1, pipeline: 4 };
    const reply = (correlationId: Buffer, bodyBytes: number): Buffer => {
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32BE(4 + bodyBytes);
      return Buffer.concat([prefix, correlationId, Buffer.alloc(bodyBytes)]);
    };
    /** Calls `answer` with the correlation id of each request; they come in whole pipelines. */
    const serveKafka = (answer: (id: Buffer) => Buffer): Promise<Serving> =>
      serve((socket, chunk) => {
        const replies: Buffer[] = [];
        for (let at = 0; at < chunk.length; at += 19) {
          replies.push(answer(chunk.subarray(at + 8, at + 12)));
        }
        socket.write(Buffer.concat(replies));
      });

    it('counts replies of any length', async () => {
      let bodyBytes = 0;
      const { port } = await serveKafka((id) => reply(id, bodyBytes++ % 100));
      const result = await runLoad({ ...flags, port }, unpinned);
      expect(result.requests).toBeGreaterThan(0);
      expect(result.latencyUs.count).toBe(result.requests);
    });

    it('fails on another request’s correlation id', async () => {
      const { port } = await serveKafka(() => reply(Buffer.alloc(4), 10));
      await expect(runLoad({ ...flags, port }, unpinned)).rejects.toThrow(/correlation id 0/);
    });

    it('fails on a wrong length where one is given', async () => {
      const { port } = await serveKafka((id) => reply(id, 10));
      const right = await runLoad({ ...flags, port, replyBytes: 18 }, unpinned);
      expect(right.requests).toBeGreaterThan(0);
      const wrong = runLoad({ ...flags, port, replyBytes: 19 }, unpinned);
      await expect(wrong).rejects.toThrow(/18 bytes; 19 were due/);
    });
  });
});
