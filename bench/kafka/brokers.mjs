// The brokers: Apache Kafka's own, and the example of this repository.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from '../commands.mjs';
import { javaArguments, whyAbsent } from './jars.mjs';
import { freePort, KeptBroker, removeLeftOvers } from './kept-broker.mjs';

/** What kafka-server-start.sh gives it. */
const heapMb = 1024;
/** As `npm start` has it; docs/kafka-broker.md says why. */
const nodeFlags = ['--initial-old-space-size=64'];
const exampleFolder = `${root}build/bench/examples`;

export const apacheKafka = new KeptBroker('Apache Kafka', {
  absent: whyAbsent(),
  async command(port, folder) {
    const properties = join(folder, 'server.properties');
    writeFileSync(properties, serverProperties(port, await freePort(), join(folder, 'data')));
    // Any 16 bytes make an id.
    const clusterId = Buffer.alloc(16, 'odradek').toString('base64url');
    const format = ['format', '-t', clusterId, '-c', properties];
    run('java', javaArguments(heapMb, 'kafka.tools.StorageTool', format));
    return { file: 'java', args: javaArguments(heapMb, 'kafka.Kafka', [properties]) };
  },
});

export const exampleBroker = example('example broker', {});
export const inlineExampleBroker = example('example broker, inline', { NETWORK_THREADS: '0' });

/** Compiles the example, and makes room. */
export async function buildBrokers() {
  await removeLeftOvers();
  const compiler = `${root}node_modules/typescript/bin/tsc`;
  run(process.execPath, [compiler, '-p', 'tsconfig.examples.json', '--outDir', exampleFolder]);
}

function example(name, settings) {
  return new KeptBroker(name, {
    isOurs: true,
    async command(port, folder) {
      return {
        file: process.execPath,
        args: [...nodeFlags, `${exampleFolder}/kafka-broker/main.js`],
        env: { ...settings, PORT: String(port), DATA_DIR: folder },
      };
    },
  });
}

/** One node that is broker and controller, with one replica of everything; else the defaults. */
function serverProperties(port, controllerPort, dataFolder) {
  return `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controllerPort}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=${dataFolder}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
`;
}
