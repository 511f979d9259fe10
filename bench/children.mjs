// Child processes of the benchmark: servers and load generators. Each speaks in lines of JSON on
// its standard output and ends when its standard input ends, so none outlives the runner.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { hasCommand } from './commands.mjs';

const alive = new Set();
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
]) {
  process.on(signal, () => process.exit(128 + number));
}

/** Whether processes can be kept to one core each: Linux, two cores or more. */
export const canPin =
  process.platform === 'linux' && availableParallelism() > 1 && hasCommand('taskset');

/** What a child is given to end after its input has ended, before it is killed. */
const endMs = 10_000;
const keptErrorBytes = 2000;

export class Child {
  #name;
  #process;
  #lines;
  #errors = '';
  #ended;

  /**
   * @param {string} name for messages
   * @param {string} command
   * @param {string[]} args
   * @param {{ core?: number, env?: Record<string, string> }} options the one core that it may use
   */
  constructor(name, command, args, { core, env = {} } = {}) {
    const [file, list] =
      canPin && core !== undefined
        ? ['taskset', ['-c', String(core), command, ...args]]
        : [command, args];
    this.#name = name;
    this.#process = spawn(file, list, { stdio: 'pipe', env: { ...process.env, ...env } });
    alive.add(this.#process);
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
    this.#process.stderr.setEncoding('utf8').on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-keptErrorBytes);
    });
    // A child that is gone already doesn't mind that its input ends.
    this.#process.stdin.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      this.#process.once('error', (error) => resolve(error.message));
      this.#process.once('close', (code, signal) => resolve(signal ?? code));
    }).then((how) => {
      alive.delete(this.#process);
      return how;
    });
  }

  get pid() {
    return this.#process.pid;
  }

  /** @returns {Promise<string | number>} how it ended: by a code, by a signal, or not even begun */
  get ended() {
    return this.#ended;
  }

  /** The next line, parsed. Throws with what the child said if it ends, or takes too long. */
  async read(timeoutMs) {
    return JSON.parse(await this.readLine(timeoutMs));
  }

  /** The next line of a child that doesn't speak JSON. Throws as {@link read}. */
  async readLine(timeoutMs) {
    const next = this.#lines.next();
    const line = await withTimeout(next, timeoutMs);
    if (line === timedOut) throw new Error(this.complaint(`no line within ${timeoutMs} ms`));
    if (line.done) throw new Error(this.complaint(`ended (${await this.#ended})`));
    return line.value;
  }

  /** Ends its input, waits, and kills it in the end. Throws if it didn't end well by itself. */
  async end() {
    this.#process.stdin.end();
    let how = await withTimeout(this.#ended, endMs);
    if (how === timedOut) {
      this.#process.kill('SIGKILL');
      await this.#ended;
      how = `killed: still there ${endMs} ms after its end`;
    }
    if (how !== 0) throw new Error(this.complaint(how));
  }

  kill() {
    this.#process.kill('SIGKILL');
    return this.#ended;
  }

  /** A message about the child, with what it said last on its standard error. */
  complaint(what) {
    const errors = this.#errors.trim();
    return `${this.#name}: ${what}${errors === '' ? '' : `\n${errors}`}`;
  }
}

const timedOut = Symbol('timed out');

async function withTimeout(promise, ms) {
  let timer;
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, ms, timedOut);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
