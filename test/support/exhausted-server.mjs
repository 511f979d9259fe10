// An echo server whose process has no descriptor left, until a line comes in. Runs on the built
// package. It prints its port, then what happens.
import { closeSync, openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { SocketServer } from 'odradek';

const server = new SocketServer({
  listeners: [{ port: 0 }],
  transport: process.argv[2],
  networkThreads: 1,
  handler: (request) => request.body,
});
server.on('acceptError', (error) => console.log(`acceptError ${error.code}`));
server.on('connectionOpened', () => console.log('opened'));
await server.start();
const lines = createInterface({ input: process.stdin });
lines.once('line', () => {
  for (const descriptor of taken) closeSync(descriptor);
  console.log('freed');
});
const { port } = server.address();
const taken = [];
try {
  while (true) taken.push(openSync('/dev/null'));
} catch (error) {
  if (error.code !== 'EMFILE') throw error;
}
console.log(port);
