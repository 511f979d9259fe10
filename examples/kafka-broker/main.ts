import { resolve } from 'node:path';
import { createBroker } from './broker.js';

const { HOST: host = '127.0.0.1', PORT = '9092', DATA_DIR = '.kafka-data' } = process.env;
const { ADVERTISED_HOST: advertisedHost, NETWORK_THREADS: networkThreads } = process.env;
const dataDir = resolve(DATA_DIR);

const broker = createBroker({
  ...{ host, port: Number(PORT), dataDir },
  ...(advertisedHost !== undefined && { advertisedHost }),
  ...(networkThreads !== undefined && { networkThreads: Number(networkThreads) }),
});

try {
  await broker.start();
} catch (error) {
  console.error(`the broker can't start: ${error instanceof Error ? error.message : error}`);
  // Kept for scripts; nothing is open any more that would keep the process alive.
  process.exitCode = 1;
}

if (process.exitCode === undefined) {
  const address = `${host}:${broker.port}`;
  console.log(`Kafka broker on ${address} (${broker.transport} transport), data in ${dataDir}

Try it with kcat (apt-get install kcat):
  kcat -b ${address} -L
  echo 'hello, odradek' | kcat -b ${address} -P -t greetings
  kcat -b ${address} -C -t greetings -o beginning -e
  kcat -b ${address} -G my-group greetings

Ctrl-C ends it.`);

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      console.log('closing');
      broker.close().catch((error: unknown) => {
        console.error(error);
        process.exitCode = 1;
      });
    });
  }
}
