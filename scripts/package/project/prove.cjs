// In an empty project: serves by the installed odradek, and asks it. Prints what was seen as JSON.
const { pathToFileURL } = require('node:url');
const { join } = require('node:path');
const ask = require('./ask.cjs');

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
