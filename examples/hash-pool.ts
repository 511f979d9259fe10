// Work that takes milliseconds, on threads of its own: a line comes back as its scrypt hash.
import { delimited, SocketServer } from 'odradek';

const server = new SocketServer({
  listeners: [{ port: Number(process.env.PORT ?? 7002) }],
  framing: delimited('\n'),
  handlerPool: {
    module: new URL('./hash-handler.js', import.meta.url),
    data: { cost: 16_384 },
  },
  handlerTimeoutMs: 10_000,
});
server.on('handlerThreadLost', ({ thread, error }) => console.error(`thread ${thread}:`, error));
await server.start();
console.log('hashes on', server.address(), 'by', server.metrics().handlerThreads.length, 'threads');

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => server.close());
