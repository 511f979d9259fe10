// A server under test as a child process: it prints {"port":N} when it serves, or {"absent":"why"},
// and ends when its standard input ends.
import { Child } from './children.mjs';

/**
 * What the runner knows of a server.
 *
 * @typedef {object} Server
 * @property {string} name as the table of shapes and the results have it
 * @property {boolean} [isOurs] for the list of rows in which we are behind
 * @property {string} [absent] why it can't be measured here
 * @property {(context: Context) => Promise<Running>} start starts it for one measurement; throws
 *   {@link Absent} if only that can show that it isn't there
 * @property {() => Promise<void>} [end] after all measurements, if it keeps something in between
 *
 * @typedef {object} Context
 * @property {import('./shapes.mjs').Shape} shape that will be measured
 * @property {number} [core] the one core that it may use; undefined: any
 * @property {import('./shapes.mjs').Times} times of the measurement
 *
 * @typedef {object} Running
 * @property {number} port on 127.0.0.1
 * @property {number} pid whose use of CPU and memory is counted
 * @property {() => Promise<void>} stop throws if the server didn't end well
 */

/** A server that isn't there, for a reason that is no failure. */
export class Absent extends Error {}

/** The server's core where it has one of its own; the load generator has the other. */
export const serverCore = 0;
/** Node starts within 0.1 s, a worker pool within 0.3 s. */
const startMs = 15_000;

/** @returns {Promise<Running>} */
export async function startServerProcess(name, command, args, { core, env } = {}) {
  const child = new Child(name, command, args, { core, env });
  try {
    const { port, absent } = await child.read(startMs);
    if (absent !== undefined) throw new Absent(absent);
    return { port, pid: child.pid, stop: () => child.end() };
  } catch (error) {
    await child.kill();
    throw error;
  }
}
