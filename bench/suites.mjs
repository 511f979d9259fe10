// What can be measured. A suite brings shapes, the servers that their tables name, goals, and what
// has to be built first.
import { echoGoals } from './goals.mjs';
import { kafka } from './kafka/suite.mjs';
import { buildLoad } from './load.mjs';
import { buildServers, echoServers } from './servers.mjs';
import { echoShapes } from './shapes.mjs';

/**
 * @typedef {object} Suite
 * @property {import('./shapes.mjs').Shape[]} shapes
 * @property {import('./server-process.mjs').Server[]} servers
 * @property {import('./goals.mjs').Goal[]} goals
 * @property {() => void | Promise<void>} [build]
 */

/** @type {Suite} */
const echo = {
  shapes: echoShapes,
  servers: echoServers,
  goals: echoGoals,
  build() {
    buildLoad();
    buildServers();
  },
};

/** @type {Suite[]} */
export const suites = [echo, kafka];
