// In an empty project: serves by the installed odradek, and asks it. Prints what was seen as JSON.
const { createConnection } = require('node:net');
const { pathToFileURL } = require('node:url');
const { join } = require('node:path');

const asked = 200;
const large = 1024 * 1024;

module.exports = async function prove({ SocketServer, isNativeAvailable }) {
  const servers = {
    threads: { networkThreads: 1, handler: ({ body }) => Buffer.from(body) },
    loop: { networkThreads: 0, handler: async ({ body }) => Buffer.from(body) },
    pool: { handlerPool: { module: pathToFileURL(join(__dirname, 'handler.mjs')), threads: 2 } },
  };
  const seen = { isNativeAvailable: isNativeAvailable(), transports: [], answered: 0 };
  for (const options of Object.values(servers)) {
    const server = new SocketServer({ listeners: [{ host: '127.0.0.1', port: 0 }], ...options });
    await server.start();
    seen.transports.push(server.transport);
    seen.answered += await ask(server.address().port);
    await server.close({ timeoutMs: 5000 });
  }
  console.log(JSON.stringify(seen));
};

/** Sends all requests at once; resolves to how many came back whole and in order. */
function ask(port) {
  const bodies = Array.from({ length: asked }, (_none, index) =>
    index === asked / 2 ? Buffer.alloc(large, 'odradek') : Buffer.from(`request ${index}`),
  );
  const frames = bodies.map((body) => {
    const size = Buffer.alloc(4);
    size.writeInt32BE(body.length);
    return Buffer.concat([size, body]);
  });
  const expected = Buffer.concat(frames);
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1');
    const received = [];
    let bytes = 0;
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      received.push(chunk);
      bytes += chunk.length;
      if (bytes >= expected.length) socket.end();
    });
    socket.on('close', () => {
      if (Buffer.concat(received).equals(expected)) resolve(asked);
      else reject(new Error(`${bytes} bytes came, not the ${expected.length} that were asked for`));
    });
    socket.write(expected);
  });
}
