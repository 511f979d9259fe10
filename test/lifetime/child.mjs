// Processes under test: node, with the addon and the environment that the run asks for.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** How long anything may take before it counts as a hang: far longer than it ever takes. */
export const patienceMs = 90_000;

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** `promise`, or an error that says what did not come in time. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${what} did not come within ${patienceMs} ms`)),
      patienceMs,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A process, what it wrote to stderr, and how it ended. */
export class Child {
  process;
  stderr = '';
  /** Resolves to `{ code, signal }`. */
  ended;

  /** `program` is a file of this folder; `stdout` as in `stdio`. */
  constructor({ node, environment }, program, args, stdout, ...more) {
    const path = fileURLToPath(new URL(program, import.meta.url));
    this.process = spawn(node, [path, ...args], {
      stdio: ['ignore', stdout, 'pipe', ...more],
      env: { ...process.env, ...environment },
    });
    this.process.stderr.on('data', (chunk) => {
      this.stderr += chunk;
    });
    this.ended = new Promise((resolve) => {
      this.process.on('close', (code, signal) => resolve({ code, signal }));
    });
  }

  /** The next line of its output, as JSON; null if it ends before. */
  async line() {
    const lines = createInterface({ input: this.process.stdout });
    const line = new Promise((resolve) => lines.once('line', resolve));
    const text = await Promise.race([line, this.ended.then(() => null)]);
    return text === null ? null : JSON.parse(text);
  }

  kill() {
    this.process.kill('SIGKILL');
  }
}

/** A host.mjs that runs servers, each by an id under which it tells of them. */
export class Host {
  #child;
  #ended;
  #death = {};
  #jobs = new Map();
  #own = new Job();

  constructor(run) {
    this.#child = new Child(run, './host.mjs', [], 'inherit', 'ipc');
    this.#child.process.on('message', ({ id, ...message }) => {
      const job = id === undefined ? this.#own : this.#jobs.get(id);
      job?.tell(message);
    });
    this.#ended = this.#child.ended.then(({ code, signal }) => {
      this.#death = { died: `code ${code}, signal ${signal}: ${this.#child.stderr}` };
      this.#own.tell(this.#death);
      for (const job of this.#jobs.values()) job.tell(this.#death);
      return { code, signal };
    });
  }

  async ready() {
    await this.#own.has('ready');
  }

  /** Begins a job of `command`, by an id that no other has. */
  begin(command, id, plan) {
    const job = new Job();
    job.tell(this.#death);
    this.#jobs.set(id, job);
    this.send({ command, id, plan });
    return job;
  }

  send(message) {
    // A host that is gone has told so already.
    if (this.#child.process.connected) this.#child.process.send(message, () => undefined);
  }

  /** Ends it; returns what is wrong with it, or null. */
  async end() {
    try {
      this.send({ command: 'end' });
      const left = await this.#own.has('left');
      const { code, signal } = await within(this.#ended, 'the end of the host');
      if (left.length > 0) return `threads are left: ${left.join(' ')}`;
      if (code !== 0) return `the host ended by code ${code}, signal ${signal}`;
      return this.#child.stderr === '' ? null : `the host wrote: ${this.#child.stderr}`;
    } catch (error) {
      return error.message;
    } finally {
      this.#child.kill();
    }
  }
}

/** What a host told of one server. */
class Job {
  #told = {};
  #waiting = new Set();

  tell(message) {
    Object.assign(this.#told, message);
    for (const look of this.#waiting) look();
  }

  get error() {
    return this.#told.error ?? null;
  }

  /** The value that is told by `name`; rejects if the host dies before. */
  has(name) {
    const told = new Promise((resolve, reject) => {
      const look = () => {
        if (this.#told[name] !== undefined) resolve(this.#told[name]);
        else if (this.#told.died !== undefined) reject(new Error(this.#told.died));
        else return;
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
    return within(told, `'${name}'`);
  }
}
