// Kafka's own ProducerPerformance against a broker.
import { Child } from '../children.mjs';
import { generatorCore } from '../load.mjs';
import { processStats, usePerRequest } from '../process-stats.mjs';
import { javaArguments } from './jars.mjs';

const heapMb = 512;
const patienceMs = 60_000;

/**
 * Produces records, and counts what the broker used from the client's start to its end.
 *
 * @param {{ port: number, pid: number }} broker
 * @param {{ recordBytes: number, records: number }} load
 * @returns what a measurement gives, for each record instead of each request
 */
export async function produce({ port, pid }, { recordBytes, records }) {
  const args = javaArguments(heapMb, 'org.apache.kafka.tools.ProducerPerformance', [
    ...['--bootstrap-server', `127.0.0.1:${port}`, '--topic', `bench-${recordBytes}`],
    ...['--num-records', String(records), '--record-size', String(recordBytes)],
    ...['--throughput', '-1'],
    // Kafka's producers are idempotent unless they want fewer acks than all.
    ...['--command-property', 'acks=1'],
  ]);
  const before = processStats(pid);
  const client = new Child('ProducerPerformance', 'java', args, { core: generatorCore });
  try {
    const perSecond = await readSummary(client, records);
    const after = processStats(pid);
    await client.end();
    const use = usePerRequest(before, after, records);
    return { requests: records, perSecond, ...use, rssMb: after.rssBytes / 2 ** 20 };
  } finally {
    await client.kill();
  }
}

/** It prints a line every five seconds, and one about all records at the end. */
async function readSummary(client, records) {
  const summary = new RegExp(`^${records} records sent, ([\\d.]+) records/sec .* 99.9th`);
  while (true) {
    const [, perSecond] = summary.exec(await client.readLine(patienceMs)) ?? [];
    if (perSecond !== undefined) return Number(perSecond);
  }
}
