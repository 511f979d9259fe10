// The server under attack: an echo with all default limits. Says `{"port":N}`, ends with its standard input.
import { SocketServer } from 'odradek';

const reasons = {};
const server = new SocketServer({
  listeners: [{ port: 0, host: '127.0.0.1' }],
  transport: process.argv[2],
  handler: (request) => request.body,
});
server.on('connectionClosed', (_connection, { code }) => {
  reasons[code] = (reasons[code] ?? 0) + 1;
});
server.on('acceptError', () => undefined);
await server.start();
console.log(JSON.stringify({ port: server.address().port }));

process.stdin.on('data', () => {
  const { connections, listeners } = server.metrics();
  console.log(JSON.stringify({ connections, listener: listeners[0], reasons }));
});
process.stdin.on('end', async () => {
  await server.close({ timeoutMs: 1000 });
});
