// Apache Kafka's broker and tools: jars that `npm run bench:peers` fetches.
import { existsSync } from 'node:fs';
import { hasCommand, root } from '../commands.mjs';

export const jarsFolder = `${root}bench/peers/kafka`;

/** Why Kafka's own programs can't be run here, or undefined if they can. */
export function whyAbsent() {
  if (!existsSync(jarsFolder)) return 'not fetched: npm run bench:peers';
  return hasCommand('java') ? undefined : 'java is not installed';
}

/** Arguments for `java`, to run a class of these jars in a heap of so many megabytes. */
export function javaArguments(heapMb, mainClass, args) {
  return [
    `-Xms${heapMb}m`,
    `-Xmx${heapMb}m`,
    // What kafka-run-class.sh says.
    '-server',
    '-XX:+UseG1GC',
    '-XX:MaxGCPauseMillis=20',
    '-XX:InitiatingHeapOccupancyPercent=35',
    '-XX:+ExplicitGCInvokesConcurrent',
    '-XX:MaxInlineLevel=15',
    '-Djava.awt.headless=true',
    // A thread that ends takes its share of what is counted in /proc with it.
    '-XX:-UseDynamicNumberOfCompilerThreads',
    '-XX:-UseDynamicNumberOfGCThreads',
    '-Dlog4j2.level=ERROR',
    '-cp',
    `${jarsFolder}/*`,
    mainClass,
    ...args,
  ];
}
