// A process under test that runs many servers, in its main thread and in workers, as lifetimes.mjs
// asks for by messages, and ends when it is told to. It says then what is left of them.
import { readdirSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { serve } from './server.mjs';

const program = new URL('./server.mjs', import.meta.url);
const running = new Map();

const commands = {
  /** Runs a plan in a worker. */
  work({ id, plan }) {
    const worker = new Worker(program, { workerData: { plan } });
    running.set(id, worker);
    worker.on('message', (message) => process.send({ id, ...message }));
    worker.on('error', ({ message }) => process.send({ id, error: message }));
    worker.on('exit', (code) => {
      running.delete(id);
      process.send({ id, exit: code });
    });
  },

  /** Ends a worker, at a moment that messages alone could not hit. */
  terminate({ id, spinUs }) {
    const until = performance.now() + spinUs / 1000;
    while (performance.now() < until);
    void running.get(id)?.terminate();
  },

  /** Runs a plan in the main thread. */
  async serve({ id, plan }) {
    running.set(id, await serve(plan, (message) => process.send({ id, ...message })));
  },

  async close({ id, timeoutMs }) {
    await running.get(id).close({ timeoutMs });
    running.delete(id);
    process.send({ id, exit: 0 });
  },

  end() {
    process.send({ left: leftovers() }, () => process.disconnect());
  },
};

/** Threads of servers that should be gone. */
function leftovers() {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc/self/task')
    .map(nameOfThread)
    .filter((name) => name.startsWith('odradek-'));
}

function nameOfThread(task) {
  try {
    return readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim();
  } catch {
    return ''; // it has just ended
  }
}

process.on('message', (message) => void commands[message.command](message));
process.send({ ready: true });
