// Frames with a 4-byte length come back as they came. Try it: PORT=7000 node build-examples/echo.js
import { SocketServer } from 'odradek';

const server = new SocketServer({
  listeners: [{ port: Number(process.env.PORT ?? 7000) }],
  handler: (request) => request.body,
});
await server.start();
console.log('echo on', server.address());
