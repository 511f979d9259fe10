import { CompressionTypes, type Consumer, Kafka, logLevel, Partitioners } from 'kafkajs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { transports } from '../support/transports.js';
import { defer, until, within } from '../support/wait.js';
import {
  firstDifference,
  inChunks,
  mixedValues,
  startBroker,
  storedBytes,
  temporaryFolder,
} from './support.js';

const partitions = 3;

function clientFor(address: string): Kafka {
  // A closed broker is tried again soon, and for long enough to be back by then.
  const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 20 };
  return new Kafka({ brokers: [address], logLevel: logLevel.NOTHING, retry });
}

async function producerFor(kafka: Kafka, options: { idempotent?: boolean } = {}) {
  const createPartitioner = Partitioners.DefaultPartitioner;
  const producer = kafka.producer({ createPartitioner, ...options });
  onTestFinished(() => producer.disconnect());
  await producer.connect();
  return producer;
}

async function adminFor(kafka: Kafka) {
  const admin = kafka.admin();
  onTestFinished(() => admin.disconnect());
  await admin.connect();
  return admin;
}

interface Received {
  readonly partition: number;
  readonly offset: number;
  readonly value: Buffer;
}

/** A member of a group, and what it has received. */
class Member {
  readonly received: Received[] = [];
  readonly consumer: Consumer;
  /** The partitions that the member was given last. */
  assigned: readonly number[] = [];
  #heard: (() => void) | null = null;

  constructor(kafka: Kafka, groupId: string) {
    // It heartbeats only between two fetches.
    const timing = { heartbeatInterval: 100, maxWaitTimeInMs: 200 };
    this.consumer = kafka.consumer({ groupId, ...timing });
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = Object.values(payload.memberAssignment).flat();
    });
    onTestFinished(() => this.consumer.disconnect());
  }

  async start(topic: string): Promise<void> {
    await this.consumer.connect();
    await this.consumer.subscribe({ topic, fromBeginning: true });
    await this.consumer.run({
      eachMessage: async ({ partition, message }) => {
        const value = message.value ?? Buffer.alloc(0);
        this.received.push({ partition, offset: Number(message.offset), value });
        this.#heard?.();
      },
    });
  }

  async receives(count: number): Promise<Received[]> {
    while (this.received.length < count) {
      const heard = new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
      await within(heard, `record ${this.received.length + 1} of ${count}`, 20_000);
    }
    return this.received;
  }
}

function ofPartition(received: readonly Received[], partition: number): Received[] {
  return received.filter((one) => one.partition === partition);
}

async function consume(address: string, groupId: string, topic: string, count: number) {
  const member = new Member(clientFor(address), groupId);
  await member.start(topic);
  const received = [...(await member.receives(count))];
  await member.consumer.disconnect();
  return received;
}

describe.each(transports)('kafkajs over the %s transport', (transport) => {
  test('10,000 records come back the same, in order, and again after a restart', async () => {
    const dataDir = await temporaryFolder();
    const { broker, address } = await startBroker({ transport, dataDir });
    const admin = await adminFor(clientFor(address));
    await admin.createTopics({ topics: [{ topic: 'mixed', numPartitions: partitions }] });
    const producer = await producerFor(clientFor(address));
    const values = mixedValues(2);
    const valuesOf = (partition: number) => values.filter((_, i) => i % partitions === partition);
    for (let partition = 0; partition < partitions; partition++) {
      for (const chunk of inChunks(valuesOf(partition))) {
        const messages = chunk.map((value) => ({ partition, value }));
        await producer.send({ topic: 'mixed', messages });
      }
    }
    const check = (received: readonly Received[]) => {
      for (let partition = 0; partition < partitions; partition++) {
        const ours = ofPartition(received, partition);
        const expected = valuesOf(partition);
        expect(
          firstDifference(
            ours.map(({ value }) => value),
            expected,
          ),
        ).toBeNull();
        expect(ours.map(({ offset }) => offset)).toEqual(expected.map((_, i) => i));
      }
    };
    check(await consume(address, 'before', 'mixed', values.length));
    await Promise.all([producer.disconnect(), admin.disconnect()]);
    await broker.close();

    const { address: again, lines } = await startBroker({ transport, dataDir });
    check(await consume(again, 'after', 'mixed', values.length));
    expect(lines).toEqual([]);
  });

  test('clients that stay go on when the broker is back', async () => {
    const dataDir = await temporaryFolder();
    const { broker, address } = await startBroker({ transport, dataDir });
    const { port } = broker;
    const kafka = clientFor(address);
    const producer = await producerFor(kafka);
    await producer.send({ topic: 'steady', messages: [{ value: 'one' }] });
    const member = new Member(kafka, 'g');
    await member.start('steady');
    await member.receives(1);
    await broker.close();
    await startBroker({ transport, dataDir, port });
    await producer.send({ topic: 'steady', messages: [{ value: 'two' }] });
    // What was read and not committed may come again before it.
    await until(() => member.received.at(-1)?.offset === 1, 'the record after the restart');
    expect(member.received.at(-1)).toMatchObject({ offset: 1, value: Buffer.from('two') });
  });

  test('two members share a group, and one takes over from the other', async () => {
    const { address } = await startBroker({ transport, defaultPartitions: 4 });
    const kafka = clientFor(address);
    const producer = await producerFor(kafka);
    const send = (round: number) =>
      producer.send({
        topic: 'shared',
        messages: [0, 1, 2, 3].map((partition) => ({ partition, value: `${round}.${partition}` })),
      });
    await send(1);
    const first = new Member(kafka, 'team');
    await first.start('shared');
    await first.receives(4);
    expect([...first.assigned].sort()).toEqual([0, 1, 2, 3]);

    const second = new Member(kafka, 'team');
    await second.start('shared');
    await until(() => first.assigned.length === 2 && second.assigned.length === 2, 'the sharing');
    expect([...first.assigned, ...second.assigned].sort()).toEqual([0, 1, 2, 3]);
    const mine = new Set(first.assigned);
    await send(2);
    await Promise.all([first.receives(6), second.receives(2)]);
    expect(second.received.every(({ partition }) => !mine.has(partition))).toBe(true);

    await first.consumer.disconnect();
    await until(() => second.assigned.length === 4, 'the taking over');
    await send(3);
    await second.receives(6);
    const texts = [...first.received, ...second.received].map(({ value }) => value.toString());
    const sent = [1, 2, 3].flatMap((round) => [0, 1, 2, 3].map((part) => `${round}.${part}`));
    expect(texts.sort()).toEqual(sent);
  });

  test('a group goes on behind what it has committed, also after a restart', async () => {
    const dataDir = await temporaryFolder();
    const { broker, address } = await startBroker({ transport, dataDir });
    const producer = await producerFor(clientFor(address));
    const send = (value: string) => producer.send({ topic: 'log', messages: [{ value }] });
    for (const value of ['one', 'two']) await send(value);
    await consume(address, 'readers', 'log', 2);
    await send('three');
    const next = await consume(address, 'readers', 'log', 1);
    expect(next.map(({ value }) => value.toString())).toEqual(['three']);
    await send('four');
    await producer.disconnect();
    await broker.close();
    const { address: again } = await startBroker({ transport, dataDir });
    const last = await consume(again, 'readers', 'log', 1);
    expect(last.map(({ offset, value }) => [offset, value.toString()])).toEqual([[3, 'four']]);
  });

  test('administers topics and groups', async () => {
    const { address } = await startBroker({ transport });
    const kafka = clientFor(address);
    const admin = await adminFor(kafka);
    const topic = 'administered';
    expect(await admin.createTopics({ topics: [{ topic, numPartitions: 2 }] })).toBe(true);
    expect(await admin.createTopics({ topics: [{ topic, numPartitions: 2 }] })).toBe(false);
    expect(await admin.listTopics()).toEqual([topic]);
    const { controller, brokers } = await admin.describeCluster();
    expect([controller, brokers.length]).toEqual([1, 1]);

    const producer = await producerFor(kafka);
    await producer.send({
      topic,
      messages: [
        { partition: 1, value: 'a' },
        { partition: 1, value: 'b' },
      ],
    });
    const offsets = await admin.fetchTopicOffsets(topic);
    expect(offsets.map(({ partition, low, high }) => [partition, low, high]).sort()).toEqual([
      [0, '0', '0'],
      [1, '0', '2'],
    ]);
    await consume(address, 'g', topic, 2);
    expect((await admin.listGroups()).groups).toEqual([{ groupId: 'g', protocolType: 'consumer' }]);
    const committed = async () => {
      const [{ partitions: parts } = { partitions: [] }] = await admin.fetchOffsets({
        ...{ groupId: 'g', topics: [topic] },
      });
      return parts.find(({ partition }) => partition === 1)?.offset;
    };
    expect(await committed()).toBe('2');
    await admin.setOffsets({ groupId: 'g', topic, partitions: [{ partition: 1, offset: '1' }] });
    expect(await committed()).toBe('1');
    expect((await consume(address, 'g', topic, 1)).map(({ offset }) => offset)).toEqual([1]);
    await admin.deleteGroups(['g']);
    expect((await admin.describeGroups(['g'])).groups[0]?.state).toBe('Dead');

    await admin.deleteTopics({ topics: [topic] });
    expect(await admin.listTopics()).toEqual([]);
    await admin.createTopics({ topics: [{ topic }] });
    expect(await admin.fetchTopicOffsets(topic)).toMatchObject([{ partition: 0, high: '0' }]);
  });

  test.each([0, 1, -1])('produces with acks=%i, keys, headers and compression', async (acks) => {
    const dataDir = await temporaryFolder();
    const { address } = await startBroker({ transport, dataDir });
    const kafka = clientFor(address);
    const admin = await adminFor(kafka);
    await admin.createTopics({ topics: [{ topic: 't', numPartitions: 1 }] });
    const producer = await producerFor(kafka);
    const value = 'easy to compress '.repeat(1000);
    const messages = [{ key: 'k', value, headers: { h: 'x' } }];
    await producer.send({ topic: 't', messages, acks, compression: CompressionTypes.GZIP });
    const got = defer<{ key: string; value: string; header: string }>();
    const consumer = kafka.consumer({ groupId: 'g' });
    onTestFinished(() => consumer.disconnect());
    await consumer.connect();
    await consumer.subscribe({ topic: 't', fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => {
        const { h } = message.headers ?? {};
        got.resolve({ key: String(message.key), value: String(message.value), header: String(h) });
      },
    });
    expect(await within(got.promise, 'the record')).toEqual({ key: 'k', value, header: 'x' });
    expect(await storedBytes(dataDir, 't')).toBeLessThan(value.length / 10);
  });

  test('an idempotent producer', async () => {
    const { address } = await startBroker({ transport });
    const kafka = clientFor(address);
    const producer = await producerFor(kafka, { idempotent: true });
    const values = Array.from({ length: 50 }, (_, i) => `value ${i}`);
    for (const value of values) {
      await producer.send({ topic: 'once', messages: [{ value }], acks: -1 });
    }
    const received = await consume(address, 'g', 'once', values.length);
    expect(received.map(({ value }) => value.toString())).toEqual(values);
  });
});
