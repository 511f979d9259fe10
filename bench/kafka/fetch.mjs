// Part of `npm run bench:peers`: Apache Kafka's jars, by Maven.
import { hasCommand, root, run } from '../commands.mjs';
import { jarsFolder } from './jars.mjs';

if (hasCommand('mvn')) {
  const pom = `${root}bench/kafka/pom.xml`;
  run('mvn', [
    '-q',
    '-B',
    '-f',
    pom,
    'dependency:copy-dependencies',
    `-DoutputDirectory=${jarsFolder}`,
  ]);
} else {
  console.log('Maven (mvn) is not installed: Apache Kafka stays absent');
}
