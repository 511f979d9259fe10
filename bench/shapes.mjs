// The loads that servers are put under, and which servers run each, and why those.
//
// Every server does the same work: it reads frames with a 4-byte length, hands the body to a
// handler, and frames what that returns. The floor alone echoes bytes without looking at them.

/**
 * @typedef {object} Shape
 * @property {string} name
 * @property {string} about what it shows
 * @property {import('./load.mjs').LoadFlags} [load] what the generator does
 * @property {string[]} servers that run it, by name
 * @property {string} why those
 * @property {1 | 2} cores that the server may use. With 1 it has one core and the generator the
 *   other; with 2 both may use both
 * @property {'throughput' | 'cpu'} measure what is compared: requests per second, or, where the
 *   rate is given, CPU time per request
 * @property {string[]} [baselines] whose multiples the table shows; default the floor and node:net
 * @property {string[]} [rivals] whom to be ahead of; default node:net and Bun
 * @property {import('./load.mjs').LoadFlags} [idle] connections that are held open meanwhile
 * @property {boolean} [isCrowd] more connections than servers let in from one address by default
 * @property {number} [warmUps] so many times the usual warm-up of a server that is kept; default 1
 * @property {boolean} [isAsync] the handler is an async function
 * @property {number} [workMs] CPU time that the handler takes
 * @property {number} [blockMs] time for which it blocks on marked requests
 * @property {(running: import('./server-process.mjs').Running, times: Times) =>
 *   Promise<import('./measure.mjs').Round>} [run]
 *   a measurement of the shape's own, instead of the load generator
 *
 * @typedef {object} Times
 * @property {number} seconds measured
 * @property {number} warmupSeconds before it
 * @property {number} [keptWarmupSeconds] before the first round, on a server kept for all rounds
 */

const kib = 1024;
const mib = kib * kib;

/** With all defaults, which on one core is `networkThreads: 0`; and with a thread all the same. */
const network = ['native', 'native, 1 thread'];
const peers = ['node:net', 'Bun'];
/** What the limits of docs/limits.md cost. */
const unlimited = 'native, no limits';
const everybody = [
  'floor',
  ...network,
  unlimited,
  'native, pool of 1',
  'native, pool of 2',
  'js',
  ...peers,
];

/** @type {Shape[]} */
export const echoShapes = [
  {
    name: '1x1',
    about: 'one connection, one request at a time, 128 B: what it costs to wake up',
    load: { connections: 1 },
    servers: ['floor', ...network, 'native, pool of 1', 'js', ...peers],
    why: 'all that differ in how many threads a request passes through',
    cores: 1,
    measure: 'throughput',
  },
  {
    name: '1x1 busy-poll',
    about: 'the same, and neither the server nor the client ever sleeps',
    load: { connections: 1, spin: true },
    servers: ['floor, busy-poll', 'native, inline, busy-poll'],
    why: 'those that can spin on one core; two threads that spin on it take turns of milliseconds',
    cores: 1,
    measure: 'throughput',
  },
  {
    name: '64x1',
    about: '64 connections, one request each at a time, 128 B',
    load: { connections: 64 },
    servers: everybody,
    why: 'all: the plainest comparison',
    cores: 1,
    measure: 'throughput',
  },
  {
    name: '64x16',
    about: '64 connections, 16 requests at once, 128 B',
    load: { connections: 64, pipeline: 16 },
    servers: everybody,
    why: 'all: what a request costs once system calls are shared',
    cores: 1,
    measure: 'throughput',
  },
  {
    name: '64x16 async',
    about: 'the same with `async (request) => request.body`',
    load: { connections: 64, pipeline: 16 },
    servers: [...network, 'js'],
    why: 'ours alone: what a promise adds to the row above',
    cores: 1,
    measure: 'throughput',
    isAsync: true,
  },
  {
    name: '512x1',
    about: '512 connections, one request each at a time, 128 B',
    load: { connections: 512 },
    servers: ['floor', ...network, ...peers],
    why: 'the plain ones: how they stand many connections',
    cores: 1,
    measure: 'throughput',
  },
  {
    name: '512x16',
    about: '512 connections, 16 requests at once, 128 B',
    load: { connections: 512, pipeline: 16 },
    servers: ['floor', ...network, ...peers],
    why: 'the plain ones: how they stand many connections',
    cores: 1,
    measure: 'throughput',
  },
  {
    name: '32x1 of 64 KiB',
    about: '32 connections, frames of 64 KiB: copies',
    load: { connections: 32, bodyBytes: 64 * kib },
    servers: ['floor', ...network, 'js', ...peers],
    why: 'all that move the bytes differently',
    cores: 1,
    measure: 'throughput',
  },
  {
    name: '8x1 of 1 MiB',
    about: '8 connections, frames of 1 MiB: copies beyond the caches',
    load: { connections: 8, bodyBytes: mib },
    servers: ['floor', ...network, 'js', ...peers],
    why: 'all that move the bytes differently',
    cores: 1,
    measure: 'throughput',
  },
  {
    name: '64x1, 1 ms of work',
    about: 'each request takes 1 ms of CPU time in the handler',
    load: { connections: 64 },
    servers: ['native', 'native, pool of 1', 'native, pool of 2', 'node:net'],
    why: 'one thread of handlers against two, on two cores',
    cores: 2,
    measure: 'throughput',
    workMs: 1,
  },
  {
    name: '2,000/s, 1 in 1000 blocks',
    about: '64 connections, 2,000 requests a second, every thousandth blocks its thread for 50 ms',
    load: { connections: 64, rate: 2000, markEvery: 1000 },
    servers: ['native', 'native, pool of 2', 'native, pool of 4', 'node:net'],
    why: 'one thread of handlers against several',
    cores: 2,
    measure: 'cpu',
    blockMs: 50,
  },
  {
    name: '64x1, 10,000 idle',
    about: '10,000 connections more that carried one small request and are idle since',
    load: { connections: 64 },
    idle: { connections: 10_000 },
    servers: ['floor', 'native', 'js', 'node:net'],
    why: 'one of each kind: memory for a connection, and whether idle ones slow the others down',
    cores: 1,
    measure: 'throughput',
    isCrowd: true,
  },
  {
    name: '64x1, 10,000 idle after 64 KiB',
    about: 'the same, but each of them carried 64 KiB',
    load: { connections: 64 },
    idle: { connections: 10_000, bodyBytes: 64 * kib },
    servers: ['native', 'node:net'],
    why: 'whether buffers that a large frame needed are kept',
    cores: 1,
    measure: 'throughput',
    isCrowd: true,
  },
  {
    name: '64x1, 18,000 idle',
    about: '18,000 idle connections: as many as 20,000 descriptors allow',
    load: { connections: 64 },
    idle: { connections: 18_000 },
    servers: ['native', 'node:net'],
    why: 'ours and its first alternative',
    cores: 1,
    measure: 'throughput',
    isCrowd: true,
  },
  {
    name: 'storm',
    about: '64 clients connect, send one request, read its reply and close, again and again',
    load: { mode: 'storm', connections: 64 },
    servers: ['floor', ...network, 'js', ...peers],
    why: 'all that accept differently',
    cores: 1,
    measure: 'throughput',
    isCrowd: true,
  },
  {
    name: '5,000/s',
    about:
      '64 connections, 5,000 requests a second evenly spread: saturation hides what waking costs',
    load: { connections: 64, rate: 5000, spin: true },
    servers: ['floor', ...network, ...peers],
    why: 'the plain ones, at a twentieth of what they can do',
    cores: 1,
    measure: 'cpu',
  },
  {
    name: '20,000/s',
    about: '64 connections, 20,000 requests a second',
    load: { connections: 64, rate: 20_000, spin: true },
    servers: ['floor', ...network, ...peers],
    why: 'the plain ones, at a fifth of what they can do',
    cores: 1,
    measure: 'cpu',
  },
];
