// Servers that end in every way at random moments, with traffic in flight from this process:
// workers that are terminated, processes that exit, servers that are closed while clients reset.
// Each must end as it should: by the right exit code, with all connections closed, no thread left,
// nothing written, nothing reported by a sanitizer, and within a bound of time.
//
//   node scripts/lifetimes.mjs [--terminations N] [--exits N] [--servers N] [--seed S]
//                              [--node PATH] [--transport native|js] [--sanitizer asan|tsan]
//
// The same seed plans the same cases. The package must be built, for a sanitizer by sanitized.mjs.
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { crossings } from '../test/lifetime/crossings.mjs';
import { exits } from '../test/lifetime/exits.mjs';
import { terminations } from '../test/lifetime/terminations.mjs';
import { Sanitizer } from './sanitizer.mjs';

const { values: options } = parseArgs({
  options: {
    terminations: { type: 'string', default: '20' },
    exits: { type: 'string', default: '20' },
    servers: { type: 'string', default: '12' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    node: { type: 'string', default: process.execPath },
    transport: { type: 'string', default: 'native' },
    sanitizer: { type: 'string' },
  },
});

/** One run: what the processes under test are, and what came of them. */
class Run {
  node = options.node;
  transport = options.transport;
  seed = Number(options.seed);
  #sanitizer = options.sanitizer === undefined ? null : new Sanitizer(options.sanitizer);
  #counts = new Map();
  #sums = { replies: 0, resets: 0 };
  failures = 0;

  get environment() {
    return this.#sanitizer?.environment ?? {};
  }

  /** Counts one case; `attempt` returns what is wrong, or null. */
  async count(what, kind, index, plan, attempt) {
    const key = `${what} ${kind}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    let wrong;
    try {
      wrong = await attempt();
    } catch (error) {
      wrong = error.message;
    }
    if (wrong !== null) this.#fail(`${key} ${index} ${JSON.stringify(plan)}: ${wrong}`);
    for (const finding of this.#sanitizer?.takeFindings() ?? []) {
      this.#fail(`${options.sanitizer}, seen after ${key} ${index}:\n${finding}`);
    }
  }

  add(name, count) {
    this.#sums[name] += count;
  }

  close() {
    for (const finding of this.#sanitizer?.takeFindings() ?? []) this.#fail(finding);
    this.#sanitizer?.close();
  }

  #fail(text) {
    this.failures++;
    console.error(`FAILED (--seed ${this.seed}) ${text}`);
  }

  summary() {
    const parts = ['termination', 'exit', 'server'].map((what) => {
      const kinds = [...this.#counts].filter(([key]) => key.startsWith(`${what} `));
      const total = kinds.reduce((sum, [, count]) => sum + count, 0);
      const details = kinds.map(([key, count]) => `${key.slice(what.length + 1)} ${count}`);
      return total === 0 ? null : `${total} ${what}s (${details.join(', ')})`;
    });
    const { replies, resets } = this.#sums;
    parts.push(replies > 0 ? `${replies} replies and ${resets} resets there` : null);
    return parts.filter((part) => part !== null).join('; ');
  }
}

const run = new Run();
const version = execFileSync(run.node, ['--version']).toString().trim();
const name = `lifetimes, ${version}, ${run.transport}, ${options.sanitizer ?? 'plain'}`;
console.log(`${name}: seed ${run.seed}`);
await terminations(run, Number(options.terminations));
await exits(run, Number(options.exits));
await crossings(run, Number(options.servers));
run.close();
console.log(`${name}: ${run.summary()}; ${run.failures} failures`);
process.exitCode = run.failures > 0 ? 1 : 0;
