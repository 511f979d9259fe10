// The best that we could write by hand on node:net.
import { createServer } from 'node:net';
import { Framed } from './framed.mjs';
import { serving } from './serving.mjs';

const server = createServer({ noDelay: true }, (socket) => {
  const framed = new Framed();
  const write = (bytes) => {
    socket.write(bytes);
  };
  const writeLarge = (prefix, body) => {
    // One gathered write for both.
    socket.cork();
    socket.write(prefix);
    socket.write(body);
    socket.uncork();
  };
  socket.on('data', (chunk) => framed.receive(chunk, write, writeLarge));
  // A client that is gone; what a server in earnest would log.
  socket.on('error', () => socket.destroy());
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => serving(server.address().port));
