import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { prometheusText } from '../examples/prometheus-text.js';
import type { Metrics } from '../src/index.js';
import { ProtocolClient } from './kafka/protocol-client.js';
import { frame } from './support/bytes.js';
import { Client } from './support/client.js';
import { until, within } from './support/wait.js';

// The examples as their README starts them, in processes of their own, on the addon that was built.

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(join(root, 'examples', 'README.md'), 'utf8');

/** `PORT=7000 node build-examples/echo.js`: what the README starts. */
const commands = [...page.matchAll(/^((?:[A-Z_]+=\S+ )+)node build-examples\/(\S+)\.js$/gm)].map(
  ([, settings, program]) => ({ settings: settings as string, program: program as string }),
);

class Example {
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';

  /** As the README says, but for the ports, which the system chooses, and what `settings` says. */
  constructor(program: string, settings: Record<string, string> = {}) {
    const command = commands.find((each) => each.program === program);
    if (command === undefined) throw new Error(`the README doesn't say how to start ${program}`);
    const names = command.settings.match(/[A-Z_]+(?==)/g) ?? [];
    const ports = names.filter((name) => name.endsWith('PORT')).map((name) => [name, '0']);
    this.#child = spawn(process.execPath, [`build-examples/${program}.js`], {
      cwd: root,
      env: { ...process.env, ...Object.fromEntries(ports), ...settings },
    });
    this.#child.stdout?.on('data', (text) => {
      this.#stdout += text;
    });
    this.#child.stderr?.on('data', (text) => {
      this.#stderr += text;
    });
    onTestFinished(() => {
      this.#child.kill('SIGKILL');
    });
  }

  /** A port that it has printed. */
  async port(pattern: RegExp): Promise<number> {
    await until(() => pattern.test(this.#stdout), `${pattern} in ${this.#stderr}`);
    return Number(pattern.exec(this.#stdout)?.[1]);
  }

  async connect(pattern = /port: (\d+)/): Promise<Client> {
    const client = await Client.connect(await this.port(pattern));
    onTestFinished(() => {
      client.socket.destroy();
    });
    return client;
  }

  terminate(): void {
    this.#child.kill('SIGTERM');
  }

  /** Waits for its end, which has to be in order. */
  async ended(): Promise<void> {
    const isOver = this.#child.exitCode !== null || this.#child.signalCode !== null;
    if (!isOver) await within(once(this.#child, 'exit'), 'the end of the example');
    const { exitCode, signalCode } = this.#child;
    expect({ exitCode, signalCode, stderr: this.#stderr }).toEqual({
      exitCode: 0,
      signalCode: null,
      stderr: '',
    });
  }
}

/** The next line that a client gets. */
async function readLine(client: Client): Promise<string> {
  let line = '';
  for (;;) {
    const byte = (await client.read(1)).toString();
    if (byte === '\n') return line;
    line += byte;
  }
}

async function ask(client: Client, line: string): Promise<string> {
  client.send(Buffer.from(`${line}\n`));
  return readLine(client);
}

describe('the examples', () => {
  beforeAll(() => {
    const compiler = 'node_modules/typescript/bin/tsc';
    const { status, stdout } = spawnSync(
      process.execPath,
      [compiler, '-p', 'tsconfig.examples.json'],
      { cwd: root, encoding: 'utf8' },
    );
    expect(stdout).toBe('');
    expect(status).toBe(0);
  }, 120_000);

  it('are all in their README, with the command that starts them', () => {
    const programs = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      // Whoever waits for signals is a program; the rest is part of one.
      .filter((file) => readFileSync(join(root, 'examples', file), 'utf8').includes("'SIGTERM'"))
      .map((file) => file.replaceAll('\\', '/').replace(/\.ts$/, ''));
    expect(programs.length).toBeGreaterThan(4);
    expect(commands.map(({ program }) => program).sort()).toEqual(programs.sort());
  });

  it('echo', async () => {
    const example = new Example('echo');
    const client = await example.connect();
    client.send(frame('hello'));
    expect(await client.readText()).toBe('hello');
    example.terminate();
    expect(await client.ended).toBe('fin');
    await example.ended();
  });

  it('line protocol', async () => {
    const example = new Example('line-protocol');
    const gregor = await example.connect();
    expect(await readLine(gregor)).toBe('hello');
    expect(await ask(gregor, 'name Gregor')).toBe('you are Gregor');
    const odradek = await example.connect();
    expect(await readLine(odradek)).toBe('hello');
    expect(await ask(odradek, 'name Odradek\r')).toBe('you are Odradek');
    expect(await ask(odradek, 'who')).toBe('Gregor, Odradek');

    // What is said again and again is heard by whoever waits by then.
    const heard = ask(gregor, 'next');
    let isHeard = false;
    heard.then(() => {
      isHeard = true;
    });
    while (!isHeard) expect(await ask(odradek, 'say no fixed abode')).toBe('said');
    expect(await heard).toBe('Odradek: no fixed abode');

    expect(await ask(odradek, 'quit')).toBe('bye');
    expect(await odradek.ended).toBe('fin');
    // Both lines travel together, so who waits is waiting when the first one is answered.
    expect(await ask(gregor, 'name Gregor Samsa\nnext')).toBe('you are Gregor Samsa');
    example.terminate();
    expect(await readLine(gregor)).toBe('the board closes');
    expect(await gregor.ended).toBe('fin');
    await example.ended();
  });

  it('worker pool', async () => {
    const example = new Example('hash-pool');
    const client = await example.connect();
    const hashes = [await ask(client, 'secret'), await ask(client, 'secret')];
    for (const hash of hashes) expect(hash).toMatch(/^[0-9a-f]{32}:[0-9a-f]{64}$/);
    expect(hashes[0]).not.toBe(hashes[1]);
    example.terminate();
    expect(await client.ended).toBe('fin');
    await example.ended();
  });

  it('Prometheus', async () => {
    const example = new Example('prometheus');
    const client = await example.connect(/echo on .*port: (\d+)/);
    client.send(frame('hello'));
    expect(await client.readText()).toBe('hello');
    const url = `http://127.0.0.1:${await example.port(/metrics on .*port: (\d+)/)}`;
    // The counters of other threads come a moment later.
    let text = '';
    let hasCounted = false;
    while (!hasCounted) {
      const response = await fetch(`${url}/metrics`, { headers: { connection: 'close' } });
      expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
      text = await response.text();
      hasCounted = text.includes('\nodradek_responses_total 1\n');
    }
    expect(text).toContain('# TYPE odradek_requests_total counter\nodradek_requests_total 1\n');
    expect(text).toContain('\nodradek_bytes_read_total 9\n');
    expect(text).toContain('\nodradek_listener_connections{listener="PLAINTEXT"} 1\n');
    expect((await fetch(url)).status).toBe(404);
    example.terminate();
    expect(await client.ended).toBe('fin');
    await example.ended();
  });

  it('Kafka broker', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'odradek-example-'));
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
    const example = new Example('kafka-broker/main', { DATA_DIR: dataDir });
    const port = await example.port(/Kafka broker on 127\.0\.0\.1:(\d+)/);
    const client = await ProtocolClient.connect(port);
    const { errorCode, apiVersions } = await client.classic('ApiVersions', 0);
    expect(errorCode).toBe(0);
    expect(apiVersions.length).toBeGreaterThan(10);
    example.terminate();
    expect(await client.client.ended).toBe('fin');
    await example.ended();
  });
});

describe('prometheusText()', () => {
  const counts = { id: 3, connections: 2, turns: 7, idleMs: 1500, idlePercent: 0.25 };
  const metrics = {
    transport: 'js',
    connections: 2,
    requestsTotal: 5,
    memoryPoolAvailable: Infinity,
    memoryPoolDepletedMs: 250,
    overloadStep: 'none',
    overloadStepsTotal: { shortenTimeouts: 2, stopAccepting: 1 },
    requestTimes: {
      total: {
        count: 2,
        sumMs: 30,
        buckets: [
          { leMs: 16, count: 1 },
          { leMs: Infinity, count: 2 },
        ],
      },
    },
    listeners: [
      { name: 'A', connections: 1, acceptorBlockedPercent: 0.5 },
      { name: 'say "B\\C"\n', connections: 1, acceptorBlockedPercent: 0 },
    ],
    processors: [counts],
    handlerThreads: [],
  } as unknown as Metrics;

  it('writes each metric once, with what all say of it, in seconds and ratios', () => {
    expect(prometheusText(metrics)).toBe(`# TYPE odradek_transport gauge
odradek_transport{transport="js"} 1
# TYPE odradek_connections gauge
odradek_connections 2
# TYPE odradek_requests_total counter
odradek_requests_total 5
# TYPE odradek_memory_pool_available gauge
odradek_memory_pool_available +Inf
# TYPE odradek_memory_pool_depleted_seconds_total counter
odradek_memory_pool_depleted_seconds_total 0.25
# TYPE odradek_overload_step gauge
odradek_overload_step{step="none"} 1
# TYPE odradek_overload_steps_total counter
odradek_overload_steps_total{step="shortenTimeouts"} 2
odradek_overload_steps_total{step="stopAccepting"} 1
# TYPE odradek_request_times_seconds histogram
odradek_request_times_seconds_bucket{time="total",le="0.016"} 1
odradek_request_times_seconds_bucket{time="total",le="+Inf"} 2
odradek_request_times_seconds_sum{time="total"} 0.03
odradek_request_times_seconds_count{time="total"} 2
# TYPE odradek_listener_connections gauge
odradek_listener_connections{listener="A"} 1
odradek_listener_connections{listener="say \\"B\\\\C\\"\\n"} 1
# TYPE odradek_listener_acceptor_blocked_ratio gauge
odradek_listener_acceptor_blocked_ratio{listener="A"} 0.5
odradek_listener_acceptor_blocked_ratio{listener="say \\"B\\\\C\\"\\n"} 0
# TYPE odradek_processor_connections gauge
odradek_processor_connections{processor="3"} 2
# TYPE odradek_processor_turns_total counter
odradek_processor_turns_total{processor="3"} 7
# TYPE odradek_processor_idle_seconds_total counter
odradek_processor_idle_seconds_total{processor="3"} 1.5
# TYPE odradek_processor_idle_ratio gauge
odradek_processor_idle_ratio{processor="3"} 0.25
`);
  });
});
