import { spawn, spawnSync } from 'node:child_process';
import { onTestFinished } from 'vitest';

const installLine = 'apt-get install kcat';

/** Whether kcat can be run. Under CI it must be: a client that isn't there is not tested. */
export const hasKcat = spawnSync('kcat', ['-V']).error === undefined;

const { CI } = process.env;
if (!hasKcat && CI === 'true') {
  throw new Error(`under CI the tests with kcat must run: ${installLine}`);
}

/** What the suite is called: where it's skipped, its name says how to change that. */
export const kcatSuite = hasKcat ? 'kcat' : `kcat (skipped, it is missing: ${installLine})`;

/** A kcat that runs, for what it does while others do something. */
export class Kcat {
  readonly done: Promise<Buffer>;
  #output = '';
  readonly #process;
  #heard: (() => void) | null = null;

  constructor(args: readonly string[], input: Uint8Array | string = '') {
    const child = spawn('kcat', args);
    this.#process = child;
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    const chunks: Buffer[] = [];
    let errors = '';
    const hear = (chunk: Buffer) => {
      this.#output += chunk.toString();
      this.#heard?.();
    };
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    // Told as kcat's own failure.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    this.done = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => {
        if (code === 0) resolve(Buffer.concat(chunks));
        else reject(new Error(`kcat ${args.join(' ')}: ${signal ?? code}: ${errors}`));
      });
    });
    // Whoever awaits it gets the failure; nobody has to.
    this.done.catch(() => undefined);
  }

  /** Resolves when that text has come out of it. */
  async says(text: string): Promise<void> {
    while (!this.#output.includes(text)) {
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#heard = resolve;
        }),
        this.done.then(() => {
          if (!this.#output.includes(text)) throw new Error(`kcat never said ${text}`);
        }),
      ]);
    }
  }

  /** Ends it as Ctrl-C does. */
  async interrupt(): Promise<void> {
    this.#process.kill('SIGINT');
    await this.done;
  }
}

/** Runs kcat to its end and gives what it wrote. */
export function kcat(args: readonly string[], input: Uint8Array | string = ''): Promise<Buffer> {
  return new Kcat(args, input).done;
}
