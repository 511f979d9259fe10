// Frames with a 4-byte length come back as they came. README.md beside this file says how to try it.
import { SocketServer } from 'odradek';

const server = new SocketServer({
  listeners: [{ port: Number(process.env.PORT ?? 7000) }],
  handler: (request) => request.body,
});
await server.start();
console.log('echo on', server.address());

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => server.close());
