// odradek under test: node odradek.mjs '{"networkThreads":0}'. The argument are options of
// SocketServer, and `poolThreads` for handlers on worker threads instead of this one, and `limits`:
// 'off' for none of docs/limits.md; so does BENCH_LIMITS=one-address for those of one address alone.
import { SocketServer } from 'odradek';
import handler from './handler.mjs';
import { absent, serving } from './serving.mjs';

const {
  poolThreads,
  transport = 'native',
  limits = process.env.BENCH_LIMITS ?? '',
  ...options
} = JSON.parse(process.argv[2] ?? '{}');
const handlers =
  poolThreads === undefined
    ? { handler }
    : {
        handlerPool: { module: new URL('./handler.mjs', import.meta.url), threads: poolThreads },
      };

const ofConnections = {
  maxConnections: Infinity,
  maxConnectionsPerIp: Infinity,
  maxConnectionCreationRate: Infinity,
  maxConnectionCreationRatePerIp: Infinity,
};
const limitsOf = {
  '': {},
  'one-address': ofConnections,
  off: {
    ...ofConnections,
    connectionsMaxIdleMs: 0,
    frameTimeoutMs: 0,
    writeTimeoutMs: 0,
    queuedMaxRequestBytes: Infinity,
    maxUnsentBytes: Infinity,
    maxUnsentBytesPerConnection: Infinity,
    overload: {
      shortenTimeoutsMs: Infinity,
      stopAcceptingMs: Infinity,
      refuseRequestsMs: Infinity,
    },
  },
};

const server = makeServer();
await server.start();
serving(server.address().port);

function makeServer() {
  try {
    const listeners = [{ port: 0, backlog: 4096 }];
    return new SocketServer({ listeners, transport, ...limitsOf[limits], ...options, ...handlers });
  } catch (error) {
    const isUnknown = error.code === 'ERR_ODRADEK_INVALID_OPTION' && /"handlerPool"/.test(error);
    if (!isUnknown) throw error;
    return absent('this version of SocketServer has no handler pool');
  }
}
