import { type ChildProcess, spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { frames } from '../support/bytes.js';
import { transports } from '../support/transports.js';
import { within } from '../support/wait.js';

const program = fileURLToPath(new URL('./server.mjs', import.meta.url));

/** Clients that keep requests in flight until their server is gone. */
class Traffic {
  readonly #sockets: Socket[] = [];
  readonly #ended: Promise<unknown>[] = [];
  #replies = 0;
  #wake: (() => void) | null = null;

  constructor(port: number) {
    const request = frames([Buffer.alloc(100, 1), Buffer.alloc(20_000, 2), Buffer.alloc(0)]);
    for (let i = 0; i < 8; i++) {
      const socket = connect(port, '127.0.0.1');
      this.#ended.push(new Promise((resolve) => socket.on('close', resolve)));
      socket.on('error', () => undefined);
      socket.on('connect', () => socket.write(request));
      socket.on('data', () => {
        this.#replies++;
        this.#wake?.();
        if (this.#replies < 100_000) socket.write(request);
      });
      this.#sockets.push(socket);
    }
  }

  async flows(): Promise<void> {
    while (this.#replies < 100) {
      await within(
        new Promise<void>((resolve) => {
          this.#wake = resolve;
        }),
        'replies',
      );
    }
  }

  /** The server's end closes every connection. */
  async ends(): Promise<void> {
    await within(Promise.all(this.#ended), 'the ends of all connections');
  }

  stop(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

function exitOf(child: ChildProcess): Promise<Exit> {
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  return within(
    new Promise<Exit>((resolve) => {
      child.on('close', (code, signal) => resolve({ code, signal, stderr }));
    }),
    'the exit of the process',
  );
}

async function runProcess(transport: string, ending: string, threads: number): Promise<Exit> {
  const options = JSON.stringify({ transport, ending, threads });
  const child = spawn(process.execPath, [program, options], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = exitOf(child);
  try {
    const lines = createInterface({ input: child.stdout });
    const port = await within(
      new Promise<number>((resolve) => lines.once('line', (line) => resolve(Number(line)))),
      'the port',
    );
    const traffic = new Traffic(port);
    if (ending === 'signal') {
      await traffic.flows();
      child.kill('SIGTERM');
    }
    if (ending === 'unref') {
      const result = await exit;
      traffic.stop();
      return result;
    }
    const result = await exit;
    await traffic.ends();
    return result;
  } finally {
    child.kill('SIGKILL');
  }
}

const endings: [ending: string, expected: { code: number | null; signal: string | null }][] = [
  ['close', { code: 0, signal: null }],
  ['unref', { code: 0, signal: null }],
  ['exit', { code: 7, signal: null }],
  ['throwInTimer', { code: 1, signal: null }],
  ['throwInListener', { code: 1, signal: null }],
  ['signal', { code: null, signal: 'SIGTERM' }],
];

describe.each(transports)('the end of a process (%s)', (transport) => {
  // 4 x 5 = 20 exits with one thread and with two; 'unref' needs the native loop's own threads.
  const fitting = endings.filter(([ending]) => ending !== 'unref' || transport === 'native');
  describe.each([1, 2])('with %i network threads', (threads) => {
    it.each(fitting)('by %s, with traffic in flight', async (ending, expected) => {
      for (let i = 0; i < 2; i++) {
        const { code, signal, stderr } = await runProcess(transport, ending, threads);
        expect({ code, signal, stderr: code === 1 ? '' : stderr }).toEqual({
          ...expected,
          stderr: '',
        });
        if (code === 1) expect(stderr).toContain('Error: thrown in a');
      }
    });
  });
});

describe.each(transports)('the end of a worker (%s)', (transport) => {
  it('by terminate(), 20 times, with traffic in flight', async () => {
    for (let i = 0; i < 20; i++) {
      const worker = new Worker(program, {
        workerData: { transport, ending: 'terminate', threads: 1 + (i % 2) },
      });
      const port = await within(
        new Promise<number>((resolve, reject) => {
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
        'the port of the worker',
      );
      const traffic = new Traffic(port);
      await traffic.flows();
      expect(await within(worker.terminate(), 'the end of the worker')).toBe(1);
      await traffic.ends();
    }
  });

  it('by process.exit() in the worker', async () => {
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(program, { workerData: { transport, ending: 'exit', threads: 2 } });
      const exit = new Promise<number>((resolve) => worker.once('exit', resolve));
      const port = await new Promise<number>((resolve) => worker.once('message', resolve));
      const traffic = new Traffic(port);
      expect(await within(exit, 'the exit of the worker')).toBe(7);
      await traffic.ends();
    }
  });
});
