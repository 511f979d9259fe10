// The servers under test.
import { output, root } from './commands.mjs';
import { buildFolder, compile } from './load.mjs';
import { startServerProcess } from './server-process.mjs';
import { roundsPerMs } from './work.mjs';

const floorBinary = `${buildFolder}/floor`;
export const peersFolder = `${root}bench/peers`;
const bunBinary = `${peersFolder}/node_modules/.bin/bun`;
/** Longer than a turn of the client at 1x1, so that nobody goes to sleep in between. */
const busyPollUs = 1000;

/** Bun's version, if `npm run bench:peers` has fetched it. */
export function bunVersion() {
  return output(bunBinary, ['--version']);
}

/** Compiles the floor. */
export function buildServers() {
  compile(floorBinary, [`${root}native/bench/floor.cc`]);
}

/** @type {import('./server-process.mjs').Server[]} */
export const echoServers = [
  floor('floor'),
  floor('floor, busy-poll', '--spin'),
  odradek('native', {}),
  odradek('native, no limits', { limits: 'off' }),
  odradek('native, 1 thread', { networkThreads: 1 }),
  odradek('native, inline, busy-poll', { networkThreads: 0, busyPollUs }),
  odradek('native, pool of 1', { poolThreads: 1 }),
  odradek('native, pool of 2', { poolThreads: 2 }),
  odradek('native, pool of 4', { poolThreads: 4 }),
  odradek('js', { transport: 'js' }),
  script('node:net', process.execPath, 'node-net.mjs'),
  {
    ...script('Bun', bunBinary, 'bun.mjs'),
    absent: bunVersion() === undefined ? 'not fetched: npm run bench:peers' : undefined,
  },
];

function floor(name, ...args) {
  return {
    name,
    start: ({ core }) => startServerProcess(name, floorBinary, args, { core }),
  };
}

/** Ours, with options of SocketServer, and with `poolThreads` for a handler pool. */
function odradek(name, options) {
  return {
    ...script(name, process.execPath, 'odradek.mjs', JSON.stringify(options)),
    isOurs: true,
  };
}

/** A server in JavaScript; what the shape asks of the handler goes in the environment. */
function script(name, runtime, file, ...args) {
  return {
    name,
    start: ({ shape, core }) =>
      startServerProcess(name, runtime, [`${root}bench/servers/${file}`, ...args], {
        core,
        env: handlerEnvironment(shape),
      }),
  };
}

let measuredRounds;

function workRoundsPerMs() {
  measuredRounds ??= roundsPerMs();
  return measuredRounds;
}

function handlerEnvironment({ isAsync = false, workMs = 0, blockMs = 0, isCrowd = false }) {
  return {
    BENCH_LIMITS: isCrowd ? 'one-address' : '',
    BENCH_ASYNC: isAsync ? '1' : '',
    BENCH_WORK_ROUNDS: workMs === 0 ? '' : String(workMs * workRoundsPerMs()),
    BENCH_BLOCK_MS: String(blockMs),
  };
}
