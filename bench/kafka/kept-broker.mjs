// A broker that is started once and kept for all its measurements: a virtual machine has to run for
// seconds until it has compiled what it runs, and both brokers are treated alike.
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Child } from '../children.mjs';
import { buildFolder, runLoad } from '../load.mjs';
import { forgetLogs } from './page-cache.mjs';

/** Apache Kafka answers after 5 to 12 seconds. */
const startMs = 60_000;
const startPollMs = 100;
const brokersFolder = `${buildFolder}/brokers`;

/** Removes what brokers of an interrupted run have left. */
export function removeLeftOvers() {
  return rm(brokersFolder, { recursive: true, force: true });
}

export class KeptBroker {
  name;
  absent;
  isOurs;
  #command;
  #running = null;
  #warm = new Set();

  /**
   * @param {string} name
   * @param {{ absent?: string, isOurs?: boolean,
   *   command: (port: number, folder: string) => Promise<Command> }} options what to run, to serve on
   *   that port with all its files in that folder
   *
   * @typedef {{ file: string, args: string[], env?: Record<string, string> }} Command
   */
  constructor(name, { absent, isOurs = false, command }) {
    this.name = name;
    this.absent = absent;
    this.isOurs = isOurs;
    this.#command = command;
  }

  /** @param {import('../server-process.mjs').Context} context */
  async start({ shape, core, times }) {
    this.#running ??= await this.#run(core);
    const { port, child, folder } = this.#running;
    const running = { port, pid: child.pid, stop: async () => {} };
    // Anew for each shape: what is compiled for one is not what another needs.
    if (!this.#warm.has(shape.name)) {
      await warmUp(shape, running, times, folder);
      this.#warm.add(shape.name);
    }
    forgetLogs(folder);
    return running;
  }

  async end() {
    if (this.#running === null) return;
    const { child, folder } = this.#running;
    this.#running = null;
    // All that an orderly end would save is removed.
    await child.kill();
    await rm(folder, { recursive: true });
  }

  async #run(core) {
    await mkdir(brokersFolder, { recursive: true });
    const folder = await mkdtemp(join(brokersFolder, 'broker-'));
    const port = await freePort();
    const { file, args, env } = await this.#command(port, folder);
    const child = new Child(this.name, file, args, { core, env });
    try {
      await answering(port, child);
    } catch (error) {
      await child.kill();
      throw error;
    }
    return { port, child, folder };
  }
}

async function warmUp(shape, running, times, folder) {
  const seconds = (times.keptWarmupSeconds ?? 0) * (shape.warmUps ?? 1);
  const end = performance.now() + seconds * 1000;
  if (shape.run === undefined) {
    const connections = Math.max(shape.load.connections, 64);
    const flags = { ...shape.load, connections, port: running.port };
    await runLoad({ ...flags, warmupSeconds: 0, seconds });
  } else {
    while (performance.now() < end) {
      await shape.run(running, times);
      forgetLogs(folder);
    }
  }
}

/** A port that nobody listens on now. KRaft wants to know its ports beforehand. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Resolves when the port takes connections. */
async function answering(port, child) {
  const deadline = performance.now() + startMs;
  let isOver = false;
  const ended = child.ended.then((how) => {
    isOver = true;
    return how;
  });
  while (!(await canConnect(port))) {
    if (isOver) throw new Error(child.complaint(`ended (${await ended})`));
    if (performance.now() > deadline) throw new Error(child.complaint(`silent for ${startMs} ms`));
    await delay(startPollMs);
  }
}

function canConnect(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
