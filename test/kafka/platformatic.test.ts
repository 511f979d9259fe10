import {
  Admin,
  type CompressionAlgorithmValue,
  Consumer,
  type Message,
  type MessagesStream,
  Producer,
} from '@platformatic/kafka';
import { describe, expect, onTestFinished, test } from 'vitest';
import { transports } from '../support/transports.js';
import { until, within } from '../support/wait.js';
import {
  firstDifference,
  inChunks,
  mixedValues,
  startBroker,
  storedBytes,
  temporaryFolder,
} from './support.js';

const partitions = 3;

type Stream = MessagesStream<Buffer, Buffer, Buffer, Buffer>;

function optionsFor(address: string) {
  return { clientId: 'test', bootstrapBrokers: [address] };
}

function producerFor(address: string, options: { idempotent?: boolean } = {}): Producer {
  const producer = new Producer({ ...optionsFor(address), autocreateTopics: true, ...options });
  onTestFinished(() => producer.close());
  return producer;
}

function consumerFor(address: string, groupId: string): Consumer {
  const timing = { heartbeatInterval: 100, maxWaitTime: 200 };
  const consumer = new Consumer({ ...optionsFor(address), groupId, ...timing });
  onTestFinished(() => consumer.close(true));
  return consumer;
}

async function streamOf(
  consumer: Consumer,
  topic: string,
  options: { mode?: 'earliest' | 'latest' | 'committed'; autocommit?: boolean } = {},
): Promise<Stream> {
  const { mode = 'earliest', autocommit = false } = options;
  const from = { mode, fallbackMode: 'earliest' as const };
  return consumer.consume({ topics: [topic], ...from, autocommit });
}

async function take(stream: Stream, count: number): Promise<Message[]> {
  const taken: Message[] = [];
  const messages = stream[Symbol.asyncIterator]();
  while (taken.length < count) {
    const { value } = await within(messages.next(), `record ${taken.length + 1} of ${count}`);
    taken.push(value);
  }
  return taken;
}

async function consume(address: string, groupId: string, topic: string, count: number) {
  const consumer = consumerFor(address, groupId);
  const messages = await take(await streamOf(consumer, topic), count);
  await consumer.close(true);
  return messages;
}

describe.each(transports)('@platformatic/kafka over the %s transport', (transport) => {
  test('10,000 records come back the same, in order, and again after a restart', async () => {
    const dataDir = await temporaryFolder();
    const { broker, address } = await startBroker({ transport, dataDir });
    const admin = new Admin(optionsFor(address));
    await admin.createTopics({ topics: ['mixed'], partitions, replicas: 1 });
    await admin.close();
    const producer = producerFor(address);
    const values = mixedValues(3);
    const valuesOf = (partition: number) => values.filter((_, i) => i % partitions === partition);
    for (let partition = 0; partition < partitions; partition++) {
      for (const chunk of inChunks(valuesOf(partition))) {
        const messages = chunk.map((value) => ({ topic: 'mixed', partition, value }));
        await producer.send({ messages: messages as never });
      }
    }
    const check = (messages: readonly Message[]) => {
      for (let partition = 0; partition < partitions; partition++) {
        const ours = messages.filter((message) => message.partition === partition);
        const expected = valuesOf(partition);
        expect(
          firstDifference(
            ours.map(({ value }) => value),
            expected,
          ),
        ).toBeNull();
        expect(ours.map(({ offset }) => offset)).toEqual(expected.map((_, i) => BigInt(i)));
      }
    };
    check(await consume(address, 'before', 'mixed', values.length));
    await producer.close();
    await broker.close();

    const { address: again, lines } = await startBroker({ transport, dataDir });
    check(await consume(again, 'after', 'mixed', values.length));
    expect(lines).toEqual([]);
  });

  test.each<[CompressionAlgorithmValue, number]>([
    ['gzip', 1],
    ['snappy', -1],
    ['lz4', 0],
  ])('%s passes through, with acks=%i, keys and headers', async (compression, acks) => {
    const dataDir = await temporaryFolder();
    const { address } = await startBroker({ transport, dataDir });
    const producer = producerFor(address);
    const value = Buffer.from('easy to compress '.repeat(1000));
    const headers = new Map([[Buffer.from('h'), Buffer.from('x')]]);
    const messages = [{ topic: 't', key: Buffer.from('k'), value, headers }];
    await producer.send({ messages, compression, acks });
    const [message] = await consume(address, 'g', 't', 1);
    expect(message?.key.toString()).toBe('k');
    expect(message?.value.equals(value)).toBe(true);
    expect([...(message?.headers ?? [])].map(String)).toEqual(['h,x']);
    expect(await storedBytes(dataDir, 't')).toBeLessThan(value.length / 5);
  });

  test('an idempotent producer', async () => {
    const { address } = await startBroker({ transport });
    const producer = producerFor(address, { idempotent: true });
    const values = Array.from({ length: 50 }, (_, i) => `value ${i}`);
    for (const value of values) {
      await producer.send({ messages: [{ topic: 'once', value: Buffer.from(value) }] });
    }
    const messages = await consume(address, 'g', 'once', values.length);
    expect(messages.map(({ value }) => value.toString())).toEqual(values);
  });

  test('a consumer that waits at the end gets what is produced then', async () => {
    const { address } = await startBroker({ transport });
    const producer = producerFor(address);
    const send = (value: string) =>
      producer.send({ messages: [{ topic: 'live', value: Buffer.from(value) }] });
    await send('before');
    const stream = await streamOf(consumerFor(address, 'g'), 'live', { mode: 'latest' });
    const taken = take(stream, 1);
    await within(
      new Promise<void>((resolve) => stream.once('fetch', resolve)),
      'a fetch that waited',
    );
    await send('after');
    expect((await taken).map(({ value }) => value.toString())).toEqual(['after']);
  });

  test('a group goes on behind what it has committed, also after a restart', async () => {
    const dataDir = await temporaryFolder();
    const { broker, address } = await startBroker({ transport, dataDir });
    const producer = producerFor(address);
    for (const value of ['one', 'two', 'three']) {
      await producer.send({ messages: [{ topic: 'log', value: Buffer.from(value) }] });
    }
    await producer.close();
    const readNext = async (at: string) => {
      const consumer = consumerFor(at, 'readers');
      const stream = await streamOf(consumer, 'log', { mode: 'committed' });
      const [message] = await take(stream, 1);
      await message?.commit();
      await consumer.close(true);
      return message?.value.toString();
    };
    expect([await readNext(address), await readNext(address)]).toEqual(['one', 'two']);
    await broker.close();
    const { address: again } = await startBroker({ transport, dataDir });
    expect(await readNext(again)).toBe('three');
  });

  test('two members share a group, and one takes over from the other', async () => {
    const { address } = await startBroker({ transport, defaultPartitions: 4 });
    await producerFor(address).send({
      messages: [{ topic: 'shared', partition: 0, value: Buffer.from('made') }],
    });
    const assigned = ({ assignments }: Consumer) =>
      assignments?.flatMap(({ partitions: numbers }) => numbers) ?? [];
    const first = consumerFor(address, 'team');
    (await streamOf(first, 'shared')).resume();
    expect(assigned(first).sort()).toEqual([0, 1, 2, 3]);
    const second = consumerFor(address, 'team');
    (await streamOf(second, 'shared')).resume();
    await until(() => assigned(first).length === 2, 'the sharing');
    expect([...assigned(first), ...assigned(second)].sort()).toEqual([0, 1, 2, 3]);
    await first.close(true);
    await until(() => assigned(second).length === 4, 'the taking over');
  });

  test('administers topics and groups', async () => {
    const { address } = await startBroker({ transport });
    const admin = new Admin(optionsFor(address));
    onTestFinished(() => admin.close());
    await admin.createTopics({ topics: ['t'], partitions: 2, replicas: 1 });
    expect(await admin.listTopics()).toEqual(['t']);
    await producerFor(address).send({
      messages: [{ topic: 't', partition: 1, value: Buffer.from('one') }],
    });
    const consumer = consumerFor(address, 'g');
    await take(await streamOf(consumer, 't'), 1);
    expect([...(await admin.listGroups()).keys()]).toEqual(['g']);
    const described = await admin.describeGroups({ groups: ['g'] });
    expect(described.get('g')).toMatchObject({ state: 'STABLE', protocolType: 'consumer' });
    await consumer.close(true);
    await admin.deleteGroups({ groups: ['g'] });
    await admin.deleteTopics({ topics: ['t'] });
    expect(await admin.listTopics()).toEqual([]);
  });
});
