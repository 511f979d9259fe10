// The benchmark's own parts: that a wrong server can't win, and that what is computed from the rounds is
// right. Nothing here measures anything.
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { judge, ratioGoal } from '../bench/goals.mjs';
import { buildLoad, holdIdle, runLoad } from '../bench/load.mjs';
import { measure, type Round } from '../bench/measure.mjs';
import { drawPicture } from '../bench/picture.mjs';
import { processStats, usePerRequest } from '../bench/process-stats.mjs';
import { runRounds } from '../bench/rounds.mjs';
import { selectOnly } from '../bench/select.mjs';
import { Absent } from '../bench/server-process.mjs';
import { buildServers } from '../bench/servers.mjs';
import type { Shape } from '../bench/shapes.mjs';
import { suites } from '../bench/suites.mjs';
import { Summary } from '../bench/summary.mjs';
import { behindList, shapeSection } from '../bench/table.mjs';

const shapes = suites.flatMap((suite) => suite.shapes);
const servers = suites.flatMap((suite) => suite.servers);
const goals = suites.flatMap((suite) => suite.goals);

/** Ends after a few requests; the seconds are a bound that is reached where nothing is answered. */
const some = { warmupSeconds: 0, seconds: 10, requests: 50 };
const short = { warmupSeconds: 0, seconds: 0.05 };
const unpinned = { isPinned: false };
const isLinux = process.platform === 'linux';

const open: Server[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

/** Serves with `answer`, and gives the port. */
async function serve(answer: (socket: Socket, chunk: Buffer) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('data', (chunk) => answer(socket, chunk)).on('error', () => socket.destroy());
  });
  open.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

const echo = (socket: Socket, chunk: Buffer): void => {
  socket.write(chunk);
};

describe.skipIf(!isLinux)('the load generator', () => {
  beforeAll(buildLoad, 300_000);

  it('counts the replies of an echo, whatever the pipeline', async () => {
    const port = await serve(echo);
    const result = await runLoad({ ...some, port, connections: 3, pipeline: 5 }, unpinned);
    expect(result.requests).toBeGreaterThan(0);
    expect(result.latencyUs.count).toBe(result.requests);
    expect(result.latencyUs.p50).toBeLessThanOrEqual(result.latencyUs.p999);
    expect(result.perSecond).toBeCloseTo(result.requests / result.seconds, 0);
  });

  it('says when the measured time begins and ends', async () => {
    const port = await serve(echo);
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
    const port = await serve((socket, chunk) => socket.write(change(chunk)));
    await expect(runLoad({ ...some, port, connections: 1 }, unpinned)).rejects.toThrow(message);
  });

  it('fails when the server closes a connection', async () => {
    const port = await serve((socket) => socket.end());
    await expect(runLoad({ ...some, port }, unpinned)).rejects.toThrow(/closed a connection/);
  });

  it('fails when nobody listens', async () => {
    const port = await serve(echo);
    await new Promise((resolve) => open.pop()?.close(resolve));
    await expect(runLoad({ ...some, port }, unpinned)).rejects.toThrow(/refused/);
  });

  it('counts at a fixed rate what was never answered', async () => {
    const port = await serve(() => {});
    const result = await runLoad({ ...short, port, connections: 2, rate: 1000 }, unpinned);
    expect(result.requests).toBe(0);
    expect(result.unanswered).toBeGreaterThan(0);
    expect(result.latencyUs.count).toBe(result.unanswered);
  });

  it('keeps marked requests apart', async () => {
    const marks = new Set<number>();
    const port = await serve((socket, chunk) => {
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
    let connections = 0;
    const port = await serve(echo);
    open[0]?.on('connection', () => connections++);
    const flags = { ...some, port, mode: 'storm', connections: 4 };
    const result = await runLoad(flags, unpinned);
    expect(result.requests).toBeGreaterThan(0);
    expect(connections).toBeGreaterThanOrEqual(result.requests);
  });

  it('holds idle connections that have carried one request', async () => {
    let connections = 0;
    const port = await serve(echo);
    open[0]?.on('connection', () => connections++);
    const idle = await holdIdle({ port, connections: 100, bodyBytes: 1000 });
    expect(connections).toBe(100);
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
    const serveKafka = (answer: (id: Buffer) => Buffer): Promise<number> =>
      serve((socket, chunk) => {
        const replies: Buffer[] = [];
        for (let at = 0; at < chunk.length; at += 19) {
          replies.push(answer(chunk.subarray(at + 8, at + 12)));
        }
        socket.write(Buffer.concat(replies));
      });

    it('counts replies of any length', async () => {
      let bodyBytes = 0;
      const port = await serveKafka((id) => reply(id, bodyBytes++ % 100));
      const result = await runLoad({ ...flags, port }, unpinned);
      expect(result.requests).toBeGreaterThan(0);
      expect(result.latencyUs.count).toBe(result.requests);
    });

    it('fails on another request’s correlation id', async () => {
      const port = await serveKafka(() => reply(Buffer.alloc(4), 10));
      await expect(runLoad({ ...flags, port }, unpinned)).rejects.toThrow(/correlation id 0/);
    });

    it('fails on a wrong length where one is given', async () => {
      const port = await serveKafka((id) => reply(id, 10));
      const right = await runLoad({ ...flags, port, replyBytes: 18 }, unpinned);
      expect(right.requests).toBeGreaterThan(0);
      const wrong = runLoad({ ...flags, port, replyBytes: 19 }, unpinned);
      await expect(wrong).rejects.toThrow(/18 bytes; 19 were due/);
    });
  });
});

describe.skipIf(!isLinux)('a server under test', () => {
  beforeAll(() => {
    buildLoad();
    buildServers();
  }, 300_000);

  const shape: Shape = {
    name: 'any',
    about: '',
    why: '',
    load: { connections: 2, requests: 50 },
    servers: ['ours'],
    cores: 2,
    measure: 'throughput',
  };
  /** Bounds: the load ends with the requests. */
  const times = { warmupSeconds: 0.1, seconds: 10 };
  const running = (port: number) => ({ port, pid: process.pid, stop: async () => {} });

  it.each(['floor', 'node:net', 'js'])('%s answers rightly', async (name) => {
    const server = servers.find((one) => one.name === name);
    if (server === undefined) throw new Error('no such server');
    for (const load of [
      { connections: 2, requests: 200, pipeline: 50 },
      { connections: 2, requests: 20, bodyBytes: 200_000 },
    ]) {
      const result = await measure({ ...shape, load }, server, times);
      expect(result.requests).toBeGreaterThan(0);
      expect(result.rssMb).toBeGreaterThan(0);
    }
  });

  it('that never answers has failed, and others go on', async () => {
    const mute = await serve(() => {});
    const echoing = await serve(echo);
    const results = await runRounds({
      shapes: [{ ...shape, servers: ['mute', 'absent', 'echo'] }],
      servers: [
        { name: 'mute', start: async () => running(mute) },
        {
          name: 'absent',
          start: async () => {
            throw new Absent('not installed');
          },
        },
        { name: 'echo', start: async () => running(echoing) },
      ],
      rounds: 2,
      times: { ...times, seconds: 1 },
      deadline: Number.POSITIVE_INFINITY,
      log: () => {},
    });
    const [first, second, third] = results.rows;
    expect(first?.failure).toMatch(/not one request was answered/);
    expect(first?.rounds).toEqual([]);
    expect(second).toMatchObject({ rounds: [] });
    expect(third?.rounds).toHaveLength(2);
    expect(results.absent).toEqual({ absent: 'not installed' });
  });

  it('that has no time left is left out, and the results say so', async () => {
    const results = await runRounds({
      shapes: [shape],
      servers: [{ name: 'ours', start: () => Promise.reject(new Error('started')) }],
      rounds: 1,
      times,
      deadline: 0,
      log: () => {},
    });
    expect(results.rows).toEqual([{ shape: 'any', server: 'ours', rounds: [] }]);
    expect(results.cutShort).toMatch(/round 1 of 1/);
  });
});

describe.skipIf(!isLinux)('what a process uses', () => {
  it('is counted from outside', () => {
    const before = processStats(process.pid);
    expect(before.rssBytes).toBeGreaterThan(2 ** 20);
    expect(before.cpuNs).toBeGreaterThan(0);
    expect(before.switches).toBeGreaterThan(0);
  });

  it('is divided by the requests, and into user and system time', () => {
    const before = { cpuNs: 0, userTicks: 0, systemTicks: 0, switches: 10, rssBytes: 0 };
    const after = { cpuNs: 4_000_000, userTicks: 1, systemTicks: 3, switches: 60, rssBytes: 0 };
    expect(usePerRequest(before, after, 100)).toEqual({
      cpuUs: 40,
      userUs: 10,
      systemUs: 30,
      switches: 0.5,
    });
  });
});

describe('the tables of the runner', () => {
  it('name servers and shapes that there are', () => {
    const names = new Set(servers.map(({ name }) => name));
    expect(names.size).toBe(servers.length);
    expect(shapes.flatMap((shape) => shape.servers).filter((name) => !names.has(name))).toEqual([]);
    const shapeNames = new Set(shapes.map(({ name }) => name));
    expect(shapeNames.size).toBe(shapes.length);
    expect(goals.filter(({ shape }) => !shapeNames.has(shape))).toEqual([]);
  });

  it('let every goal be measured', () => {
    const rows = shapes.flatMap((shape) =>
      shape.servers.map((server) => ({ shape: shape.name, server, rounds: [everything] })),
    );
    const verdicts = judge(goals, new Summary({ rows, absent: {} }));
    expect(verdicts.filter(({ status }) => status === 'not measured')).toEqual([]);
  });

  it('are cut down by --only', () => {
    const all = selectOnly(suites, []);
    expect(all.shapes).toEqual(shapes);
    const some = selectOnly(suites, ['64x1', 'native*']);
    expect(some.shapes.map(({ name }) => name)).toEqual(['64x1']);
    expect(some.servers.every(({ name }) => name.startsWith('native'))).toBe(true);
    expect(() => selectOnly(suites, ['64x'])).toThrow(/no shape or server/);
  });
});

/** A round in which everything was measured. */
const everything: Round = {
  perSecond: 1000,
  cpuUs: 2,
  userUs: 1,
  systemUs: 1,
  latencyUs: { count: 1000, p50: 1, p99: 2, p999: 3, max: 4 },
  switches: 0.1,
  rssMb: 50,
  rssKbPerIdle: 0.5,
  generatorBusy: 0.5,
};

describe('the report', () => {
  const round = (perSecond: number, cpuUs: number) => ({ ...everything, perSecond, cpuUs });
  const shape: Shape = {
    name: '64x1',
    about: 'a shape',
    why: 'because',
    servers: ['ours', 'node:net'],
    cores: 1,
    measure: 'throughput',
  };
  const row = (server: string, rounds: Round[]) => ({ shape: '64x1', server, rounds });
  const summary = new Summary({
    rows: [
      row('ours', [round(100, 1), round(300, 3), round(50, 2)]),
      row('node:net', [round(50, 2), round(100, 2), round(100, 2)]),
    ],
    absent: {},
  });

  it('has medians with their spread, and ratios within rounds', () => {
    expect(summary.figure('64x1', 'ours', 'perSecond')).toEqual({
      median: 100,
      least: 50,
      most: 300,
    });
    expect(summary.ratio('64x1', 'ours', 'node:net', 'perSecond')).toEqual({
      median: 2,
      least: 0.5,
      most: 3,
    });
    expect(summary.figure('64x1', 'Bun', 'perSecond')).toBeUndefined();
    expect(summary.ratio('64x1', 'ours', 'Bun', 'perSecond')).toBeUndefined();
  });

  it('judges goals', () => {
    const verdicts = judge(
      [
        ratioGoal('64x1', 'ours', 'perSecond', { atLeast: 2 }, 'node:net'),
        ratioGoal('64x1', 'ours', 'perSecond', { atLeast: 2.1 }, 'node:net'),
        ratioGoal('64x1', 'ours', 'cpuUs', { atMost: 1 }, 'node:net'),
        ratioGoal('64x1', 'ours', 'cpuUs', { atMost: 0.9 }, 'node:net'),
        ratioGoal('64x1', 'ours', 'cpuUs', { atMost: 1 }, 'Bun'),
      ],
      summary,
    );
    expect(verdicts.map(({ status }) => status)).toEqual([
      'met',
      'missed',
      'met',
      'missed',
      'not measured',
    ]);
    expect(verdicts[1]).toMatchObject({
      text: 'ours: requests a second >= 2.1 of node:net',
      measured: '2.00 (0.50-3.00)',
    });
  });

  it('names the rows in which we are behind', () => {
    expect(behindList([shape], new Set(['ours']), summary)).toBe('None.');
    const behind = new Summary({
      rows: [row('ours', [round(90, 3)]), row('node:net', [round(100, 2)])],
      absent: {},
    });
    expect(behindList([shape], new Set(['ours']), behind)).toBe(
      '- 64x1, ours: requests a second 0.90 of node:net; CPU per request 1.50 of node:net',
    );
  });

  it('has a table for each shape that ran', () => {
    const section = shapeSection(shape, summary);
    expect(section).toContain(
      '### 64x1\n\nA shape. The server had one core. Who runs it: because.',
    );
    const lines = section.split('\n').filter((line) => line.startsWith('|'));
    expect(lines).toHaveLength(4);
    expect(new Set(lines.map((line) => line.split('|').length)).size).toBe(1);
    expect(lines[2]).toContain('| ours | 100 (50-300) | 2.00 |');
    expect(shapeSection({ ...shape, name: 'another' }, summary)).toBe('');
  });

  it('has a picture with a dot for each server that ran', () => {
    const rows = ['node:net', 'native'].map((server) => row(server, [everything]));
    const picture = drawPicture([shape], new Summary({ rows, absent: {} }));
    expect(picture.match(/<title>/g)).toHaveLength(4);
    expect(picture).toContain('<title>64x1, native: 1.00x</title>');
  });
});
