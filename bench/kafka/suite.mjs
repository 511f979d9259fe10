// Kafka's protocol: the example broker against Apache Kafka's own.
import { ratioGoal } from '../goals.mjs';
import { apacheKafka, buildBrokers, exampleBroker, inlineExampleBroker } from './brokers.mjs';
import { whyAbsent } from './jars.mjs';
import { produce } from './producer.mjs';

/** ApiVersions version 0 of the client "bench": length, key, version, correlation id, client id. */
const apiVersionsRequest = Buffer.concat([
  Buffer.from([0, 0, 0, 15, 0, 18, 0, 0, 0, 0, 0, 0, 0, 5]),
  Buffer.from('bench'),
]).toString('hex');

const ours = exampleBroker.name;
const inline = inlineExampleBroker.name;
const apache = apacheKafka.name;
const compared = { cores: 1, measure: 'cpu', baselines: [apache], rivals: [apache] };

function apiVersions(connections, pipeline, about) {
  return {
    name: `ApiVersions ${connections}x${pipeline}`,
    about: `ApiVersions requests, ${about}; each reply is encoded anew`,
    load: { connections, pipeline, requestHex: apiVersionsRequest },
    servers: [ours, apache],
    why: 'the brokers',
    ...compared,
  };
}

function produced(recordBytes, size, recordsPerSecond, warmUps) {
  return {
    name: `Produce ${size}`,
    about: `records of ${size} by Kafka's ProducerPerformance, acks=1; a request is a record here`,
    // Without Kafka's tools there is no client.
    servers: whyAbsent() === undefined ? [ours, inline, apache] : [],
    why: 'the brokers; ours with a network thread and without',
    ...compared,
    warmUps,
    run: (running, { seconds }) =>
      produce(running, { recordBytes, records: Math.round(recordsPerSecond * seconds) }),
  };
}

/** @type {import('../suites.mjs').Suite} */
export const kafka = {
  shapes: [
    apiVersions(1, 1, 'one connection, one at a time'),
    apiVersions(64, 1, '64 connections, one at a time on each'),
    apiVersions(64, 16, '64 connections, 16 at once on each'),
    // After 8 seconds Apache Kafka still takes twice the time of 30 seconds later.
    produced(100, '100 B', 400_000, 4),
    produced(1000, '1 KB', 100_000, 1),
  ],
  servers: [exampleBroker, inlineExampleBroker, apacheKafka],
  goals: [
    ratioGoal('ApiVersions 64x1', ours, 'perCpuSecond', { atLeast: 4 }, apache),
    ratioGoal('ApiVersions 64x16', ours, 'perCpuSecond', { atLeast: 8 }, apache),
    ratioGoal('ApiVersions 1x1', ours, 'p50Us', { atMost: 1 }, apache),
    ratioGoal('Produce 100 B', inline, 'perCpuSecond', { atLeast: 2 }, apache),
    ratioGoal('Produce 1 KB', inline, 'perCpuSecond', { atLeast: 2 }, apache),
  ],
  build: buildBrokers,
};
