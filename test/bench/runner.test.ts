// The runner: servers that fail, what is computed from the rounds, and the tables that it goes by.
// No time is measured here.
import { beforeAll, describe, expect, it } from 'vitest';
import { judge, ratioGoal } from '../../bench/goals.mjs';
import { buildLoad } from '../../bench/load.mjs';
import { describeMachine } from '../../bench/machine.mjs';
import { measure, type Round } from '../../bench/measure.mjs';
import { drawPicture } from '../../bench/picture.mjs';
import { processStats, usePerRequest } from '../../bench/process-stats.mjs';
import { makeReport } from '../../bench/report.mjs';
import { type Row, runRounds } from '../../bench/rounds.mjs';
import { selectOnly } from '../../bench/select.mjs';
import { Absent, startServerProcess } from '../../bench/server-process.mjs';
import { buildServers } from '../../bench/servers.mjs';
import type { Shape } from '../../bench/shapes.mjs';
import { suites } from '../../bench/suites.mjs';
import { Summary } from '../../bench/summary.mjs';
import { behindList, shapeSection } from '../../bench/table.mjs';
import { echo, isLinux, serve } from './support.js';

const shapes = suites.flatMap((suite) => suite.shapes);
const servers = suites.flatMap((suite) => suite.servers);
const goals = suites.flatMap((suite) => suite.goals);

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

  const node = (program: string) => startServerProcess('it', process.execPath, ['-e', program]);

  it('that dies at its start has failed with what it said', async () => {
    await expect(node('console.error("no such option"); process.exit(3)')).rejects.toThrow(
      'it: ended (3)\nno such option',
    );
    const missing = startServerProcess('it', './there-is-no-such-program', []);
    await expect(missing).rejects.toThrow(/ended \(.*ENOENT/);
  });

  it('that says why it is absent is absent', async () => {
    await expect(node('console.log(JSON.stringify({ absent: "too old" }))')).rejects.toThrow(
      new Absent('too old'),
    );
  });

  it('that dies later has failed with what it said', async () => {
    const program = `
      console.log(JSON.stringify({ port: 1 }));
      process.stdin.on('end', () => { throw new Error('it hurts'); }).resume();`;
    const running = await node(program);
    await expect(running.stop()).rejects.toThrow(/^it: 1\n.*it hurts/s);
  });

  it('that never answers has failed, and others go on', async () => {
    const { port: mute } = await serve(() => {});
    const { port: echoing } = await serve(echo);
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
      rounds: 3,
      times: { ...times, seconds: 1 },
      deadline: Number.POSITIVE_INFINITY,
      log: () => {},
    });
    const [first, second, third] = results.rows;
    const message = expect.stringMatching(/not one request was answered/);
    expect(first?.failures).toEqual([
      { round: 1, message },
      { round: 2, message },
    ]);
    expect(first?.rounds).toEqual([null, null]);
    expect(second).toMatchObject({ rounds: [] });
    expect(third?.rounds).toHaveLength(3);
    expect(third?.failures).toEqual([]);
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
    const [row] = results.rows;
    expect(row).toMatchObject({ shape: 'any', server: 'ours', cores: 2, rounds: [] });
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
      servers.map((server) => rowOf(shape.name, server.name, [everything])),
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

function rowOf(shape: string, server: string, rounds: (Round | null)[]): Row {
  return { shape, server, cores: 1, rounds, failures: [] };
}

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

describe('the page', () => {
  const run = {
    machine: { ...describeMachine(), date: '2000-01-01', commit: 'abc', isPinned: false },
    command: 'npm run bench',
    rounds: 1,
    times: { seconds: 1, warmupSeconds: 1 },
  };

  it('has goals, where we are behind, and each row that ran', () => {
    const rows = shapes.flatMap((shape) =>
      shape.servers.map((server) => rowOf(shape.name, server, [everything])),
    );
    const { markdown } = makeReport({ ...run, results: { rows, absent: {} } }, suites);
    expect(markdown).toMatch(/^`npm run bench`, 2000-01-01, commit abc: 1 interleaved rounds/);
    expect(markdown).toContain('Nothing was pinned');
    const sections = [...markdown.matchAll(/^### (.*)$/gm)].map(([, name]) => name);
    const withServers = shapes.filter((shape) => shape.servers.length > 0);
    expect(sections).toEqual(withServers.map(({ name }) => name));
    expect(markdown).toContain('## Where we are not ahead\n\nNone.');
    expect(markdown).not.toMatch(/undefined|NaN|null/);
  });

  it('says what is missing', () => {
    const failures = [{ round: 2, message: 'it died\nof something' }];
    const failed = { ...rowOf('64x1', 'native', [null]), failures };
    const results = { rows: [failed], absent: { Bun: 'not fetched' }, cutShort: 'no time' };
    const { markdown } = makeReport({ ...run, results }, suites);
    expect(markdown).toContain('Absent: Bun (not fetched).');
    expect(markdown).toContain('Failed: 64x1 on native, round 2: it died');
    expect(markdown).toContain('Cut short: no time.');
    expect(markdown).not.toContain('### ');
  });
});

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
  const row = (server: string, rounds: (Round | null)[]): Row => rowOf('64x1', server, rounds);
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

  it('pairs the rounds that both went through', () => {
    const partly = new Summary({
      rows: [row('ours', [null, round(300, 3)]), row('node:net', [round(1, 1), round(100, 1)])],
      absent: {},
    });
    const once = { median: 3, least: 3, most: 3 };
    expect(partly.ratio('64x1', 'ours', 'node:net', 'perSecond')).toEqual(once);
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
    expect(picture.match(/x<\/title>/g)).toHaveLength(4);
    expect(picture).toContain('<title>64x1, native: 1.00x</title>');
  });
});
