// A process that serves one request on handler threads and then ends, or should: argv has the
// transport and how.
import { connect } from 'node:net';
import { SocketServer } from 'odradek';

const [, , transport, how] = process.argv;
const server = new SocketServer({
  listeners: [{ port: 0 }],
  transport,
  handlerPool: { module: new URL('./echo.mjs', import.meta.url), threads: 2 },
});
await server.start();
const client = connect(server.address().port, '127.0.0.1');
client.write(Buffer.from('\0\0\0\x04echo'));
client.on('data', (bytes) => {
  console.log(bytes.toString('latin1', 4));
  client.destroy();
  if (how === 'unref') server.unref();
  else if (how === 'close') void server.close();
  else process.exit();
});
