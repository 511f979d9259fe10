import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fetchV17, metadataV12, produceV11 } from '@platformatic/kafka';
import { beforeEach, describe, expect, test } from 'vitest';
import { createBroker } from '../../examples/kafka-broker/broker.js';
import { Client } from '../support/client.js';
import { placed, placements } from '../support/transports.js';
import { until, within } from '../support/wait.js';
import { ProtocolClient } from './protocol-client.js';
import {
  batchOf,
  type RunningBroker,
  startBroker,
  storedBytes,
  temporaryFolder,
} from './support.js';

/** Long enough that a test which waits for it fails. */
const forEver = 60_000;

describe.each(placements)('the broker, %s', (placement) => {
  let running: RunningBroker;
  let client: ProtocolClient;
  let topicId: string;

  beforeEach(async () => {
    running = await startBroker(placed(placement));
    client = await ProtocolClient.connect(running.broker.port);
    topicId = await makeTopic('t');
  });

  async function makeTopic(name: string): Promise<string> {
    const { topics } = await client.flexible(metadataV12, [name], true, false);
    return topics[0].topicId;
  }

  async function produce(value: string | Buffer, by = client): Promise<number> {
    const message = { topic: 't', partition: 0, value: Buffer.from(value) };
    const { responses } = await by.flexible(produceV11, 1, 1000, [message], {});
    return Number(responses[0].partitionResponses[0].baseOffset);
  }

  interface FetchOptions {
    offset?: number;
    maxWaitMs?: number;
    minBytes?: number;
    maxBytes?: number;
    partitionMaxBytes?: number;
    sessionEpoch?: number;
    ids?: string[];
  }

  /** The values of each fetched partition, joined with commas. */
  async function fetch(options: FetchOptions = {}, by = client): Promise<string[]> {
    const { offset = 0, maxWaitMs = 0, minBytes = 1, maxBytes = 1e7 } = options;
    const { partitionMaxBytes = 1e7, sessionEpoch = -1, ids = [topicId] } = options;
    const epochs = { currentLeaderEpoch: -1, lastFetchedEpoch: -1 };
    const partition = { partition: 0, fetchOffset: BigInt(offset), partitionMaxBytes, ...epochs };
    const topics = ids.map((id) => ({ topicId: id, partitions: [partition] }));
    const limits = [maxWaitMs, minBytes, maxBytes, 0, 0, sessionEpoch];
    const { responses } = await by.flexible(fetchV17, ...limits, topics, [], '');
    return responses.map(({ partitions }: { partitions: { records?: Batch[] }[] }) =>
      (partitions[0]?.records ?? [])
        .flatMap(({ records }) => records.map(({ value }) => value.toString()))
        .join(),
    );
  }

  interface Batch {
    readonly records: readonly { readonly value: Buffer }[];
  }

  async function anotherClient(): Promise<ProtocolClient> {
    return ProtocolClient.connect(running.broker.port);
  }

  /** A fetch on a connection of its own, from when it waits in the broker. */
  async function waitingFetch(options: FetchOptions = {}): Promise<{ answer: Promise<string[]> }> {
    const waitingBefore = running.broker.requestsInFlight;
    const answer = fetch({ maxWaitMs: forEver, ...options }, await anotherClient());
    answer.catch(() => undefined);
    await until(() => running.broker.requestsInFlight > waitingBefore, 'the fetch waiting');
    return { answer: within(answer, 'the answer') };
  }

  describe('a fetch at the end', () => {
    test('waits for the next record', async () => {
      const { answer } = await waitingFetch();
      expect(await produce('new')).toBe(0);
      expect(await answer).toEqual(['new']);
    });

    test('waits for as many bytes as it wants', async () => {
      await produce(Buffer.alloc(1000, 'a'));
      const { answer } = await waitingFetch({ minBytes: 2500 });
      await produce(Buffer.alloc(1000, 'b'));
      await produce('c');
      expect(running.broker.requestsInFlight).toBe(1);
      await produce(Buffer.alloc(1000, 'd'));
      expect((await answer).join()).toMatch(/^a{1000},b{1000},c,d{1000}$/);
    });

    test('comes back empty when its time is over', async () => {
      const start = performance.now();
      expect(await fetch({ maxWaitMs: 200 })).toEqual(['']);
      const took = performance.now() - start;
      expect(took).toBeGreaterThan(190);
      expect(took).toBeLessThan(5000);
    });

    test('comes back at once if it is not to wait', async () => {
      expect(await within(fetch({ maxWaitMs: 0 }), 'the answer')).toEqual(['']);
      expect(await within(fetch({ maxWaitMs: forEver, minBytes: 0 }), 'the answer')).toEqual(['']);
    });

    test('of many partitions wakes for any of them', async () => {
      const ids = [topicId, await makeTopic('u'), await makeTopic('v')];
      const { answer } = await waitingFetch({ ids });
      await produce('in the first');
      expect(await answer).toEqual(['in the first', '', '']);
    });

    test('is told when its topic is deleted', async () => {
      const { answer } = await waitingFetch();
      const refused = expect(answer).rejects.toMatchObject({
        response: { responses: [{ partitions: [{ errorCode: 3 }] }] },
      });
      await client.classic('DeleteTopics', 1, { topics: ['t'], timeout: 1000 });
      await refused;
    });

    test('ends when the broker closes', async () => {
      const waiting = [await waitingFetch(), await waitingFetch(), await waitingFetch()];
      const start = performance.now();
      await running.broker.close();
      expect(performance.now() - start).toBeLessThan(3000);
      for (const { answer } of waiting) expect(await answer).toEqual(['']);
    });

    test('ends when its client resets the connection', async () => {
      const other = await anotherClient();
      fetch({ maxWaitMs: forEver }, other).catch(() => undefined);
      await until(() => running.broker.requestsInFlight === 1, 'the fetch waiting');
      other.client.reset();
      // A paused socket of `node:net` notices a reset only when it is written to.
      if (placement === 'js') await produce('so that there is something to write');
      await until(() => running.broker.requestsInFlight === 0, 'the end of the fetch');
    });

    test('is answered although its client has half-closed', async () => {
      const other = new ProtocolClient(
        await Client.connect(running.broker.port, { staysOpen: true }),
      );
      const waiting = fetch({ maxWaitMs: forEver }, other);
      await until(() => running.broker.requestsInFlight === 1, 'the fetch waiting');
      other.client.end();
      await produce('new');
      expect(await within(waiting, 'the record')).toEqual(['new']);
      expect(await other.client.seeEnd()).toBe('fin');
    });
  });

  describe('limits of a fetch', () => {
    const size = 1000;

    beforeEach(async () => {
      for (const letter of ['a', 'b', 'c']) await produce(Buffer.alloc(size, letter));
    });

    const letters = async (options: FetchOptions) =>
      (await fetch(options)).map((values) => values.replaceAll(/(.)\1+/g, '$1'));

    test('only whole batches come, but always a first one', async () => {
      expect(await letters({})).toEqual(['a,b,c']);
      expect(await letters({ partitionMaxBytes: 2.5 * size })).toEqual(['a,b']);
      expect(await letters({ partitionMaxBytes: 1 })).toEqual(['a']);
      expect(await letters({ maxBytes: 1, offset: 2 })).toEqual(['c']);
      expect(await letters({ maxBytes: 0, partitionMaxBytes: -5 })).toEqual(['a']);
    });

    test('the second partition takes what the first one leaves', async () => {
      expect(await letters({ ids: [topicId, topicId], maxBytes: 4.5 * size })).toEqual([
        'a,b,c',
        'a',
      ]);
      expect(await letters({ ids: [topicId, topicId], maxBytes: 1 })).toEqual(['a', '']);
    });

    test('an offset that is not there is an error', async () => {
      const outOfRange = { response: { responses: [{ partitions: [{ errorCode: 1 }] }] } };
      await expect(fetch({ offset: 4 })).rejects.toMatchObject(outOfRange);
      await expect(fetch({ offset: -1 })).rejects.toMatchObject(outOfRange);
    });

    test('a session that was never given is an error', async () => {
      await expect(fetch({ sessionEpoch: 3 })).rejects.toMatchObject({
        response: { errorCode: 70 },
      });
    });
  });

  describe('produce', () => {
    /** Sends a batch as it is, and gives the error for its partition. */
    async function errorFor(records: Buffer, acks = 1, topic = 't'): Promise<number> {
      const header = Buffer.alloc(2 + 2 + 4 + 4 + 2 + topic.length + 4 + 4 + 4);
      let at = header.writeInt16BE(-1, 0);
      at = header.writeInt16BE(acks, at);
      at = header.writeInt32BE(1000, at);
      at = header.writeInt32BE(1, at);
      at = header.writeInt16BE(topic.length, at);
      at += header.write(topic, at);
      at = header.writeInt32BE(1, at);
      at = header.writeInt32BE(0, at);
      header.writeInt32BE(records.length, at);
      client.sendBody(0, 3, 77, Buffer.concat([header, records]));
      if (acks === 0) return 0;
      const frame = await client.client.readFrame();
      return frame.readInt16BE(4 + 4 + 2 + topic.length + 4 + 4);
    }

    const damaged = (change: (batch: Buffer) => void) => {
      const batch = batchOf(['value', 'another']);
      change(batch);
      return batch;
    };

    test.each<[string, number, Buffer]>([
      ['a damaged byte', 2, damaged((batch) => batch.fill(99, batch.length - 1))],
      ['a wrong checksum', 2, damaged((batch) => batch.writeUInt32BE(1, 17))],
      ['a batch cut short', 2, batchOf(['value']).subarray(0, -1)],
      ['no batch at all', 2, Buffer.alloc(10)],
      ['an old message format', 43, damaged((batch) => batch.writeInt8(1, 16))],
      ['an absurd length', 2, damaged((batch) => batch.writeInt32BE(2 ** 31 - 1, 8))],
      ['a negative length', 2, damaged((batch) => batch.writeInt32BE(-1, 8))],
      ['two batches', 87, Buffer.concat([batchOf(['a']), batchOf(['b'])])],
      ['a batch that is too large', 10, batchOf([Buffer.alloc(1_048_588)])],
      ['a batch of a transaction', 87, batchOf(['a'], { transactional: true })],
    ])('%s is refused with error %i', async (_, code, records) => {
      expect(await errorFor(records)).toBe(code);
      expect(await produce('still working')).toBe(0);
    });

    test('to a topic that is not there, or with other acks, is refused', async () => {
      expect(await errorFor(batchOf(['a']), 1, 'absent')).toBe(3);
      expect(await errorFor(batchOf(['a']), 2)).toBe(21);
    });

    test('without acks is in order with what follows it, and costs no answer', async () => {
      for (const value of ['a', 'b', 'c']) await errorFor(batchOf([value]), 0);
      expect(await produce('d')).toBe(3);
      expect(await fetch()).toEqual(['a,b,c,d']);
    });

    test('without acks that fails closes the connection', async () => {
      await errorFor(batchOf(['a']), 0, 'absent');
      expect(await client.client.seeEnd()).toBe('fin');
      expect(await fetch({}, await anotherClient())).toEqual(['']);
    });
  });

  describe('restarts', () => {
    test('cut off a torn tail, say so, and go on at the right offset', async () => {
      const dataDir = await temporaryFolder();
      const first = await startBroker({ ...placed(placement), dataDir });
      client = await ProtocolClient.connect(first.broker.port);
      topicId = await makeTopic('t');
      for (const value of ['one', 'two', 'three']) await produce(value);
      await first.broker.close();
      const file = join(dataDir, 'topics', 't', '0', '00000000000000000000.log');
      await truncate(file, (await storedBytes(dataDir, 't')) - 3);

      const second = await startBroker({ ...placed(placement), dataDir });
      expect(second.lines).toEqual([
        expect.stringMatching(/0{20}\.log: cut off \d+ bytes after offset 1 /),
      ]);
      client = await ProtocolClient.connect(second.broker.port);
      expect(await fetch()).toEqual(['one,two']);
      expect(await produce('three again')).toBe(2);
      expect(await fetch()).toEqual(['one,two,three again']);
    });

    test('keep topics, their ids and the cluster id, and give out no producer id twice', async () => {
      const dataDir = await temporaryFolder();
      const seen = new Set<string>();
      for (let round = 0; round < 3; round++) {
        const { broker } = await startBroker({ ...placed(placement), dataDir });
        client = await ProtocolClient.connect(broker.port);
        const { clusterId, topics } = await client.flexible(metadataV12, ['t'], true, false);
        seen.add(`${clusterId} ${topics[0].topicId}`);
        const { producerId } = await client.classic('InitProducerId', 1, { transactionalId: null });
        seen.add(String(producerId));
        await broker.close();
      }
      expect(seen.size).toBe(4);
    });

    test('forget a deleted topic', async () => {
      const dataDir = await temporaryFolder();
      const { broker } = await startBroker({ ...placed(placement), dataDir });
      client = await ProtocolClient.connect(broker.port);
      const id = await makeTopic('t');
      await produce('old');
      await client.classic('DeleteTopics', 1, { topics: ['t'], timeout: 1000 });
      expect(await makeTopic('t')).not.toBe(id);
      expect(await produce('new')).toBe(0);
      await broker.close();
      const again = await startBroker({ ...placed(placement), dataDir });
      client = await ProtocolClient.connect(again.broker.port);
      topicId = await makeTopic('t');
      expect(await fetch()).toEqual(['new']);
    });
  });

  test('a data folder serves one broker at a time', async () => {
    const dataDir = await temporaryFolder();
    const { broker } = await startBroker({ ...placed(placement), dataDir });
    const second = createBroker({ ...placed(placement), dataDir, port: 0 });
    await expect(second.start()).rejects.toThrow(`process id ${process.pid}`);
    await broker.close();
    // Left behind by a process that is gone: ids are below 2^22.
    await writeFile(join(dataDir, 'broker.pid'), '4194305');
    await startBroker({ ...placed(placement), dataDir });
  });

  test('a port in use fails the start, and frees the folder', async () => {
    const dataDir = await temporaryFolder();
    const { port } = running.broker;
    const second = createBroker({ ...placed(placement), dataDir, port });
    await expect(second.start()).rejects.toMatchObject({ code: 'ERR_ODRADEK_LISTEN' });
    await startBroker({ ...placed(placement), dataDir });
  });

  test('there are no more partitions than the limit', async () => {
    const { broker } = await startBroker({ ...placed(placement), maxPartitions: 5 });
    client = await ProtocolClient.connect(broker.port);
    const create = async (topic: string, numPartitions: number) => {
      const topics = [{ topic, numPartitions, replicationFactor: 1 }];
      const { topicErrors } = await client.classic('CreateTopics', 1, { topics, timeout: 1000 });
      return topicErrors[0].errorCode;
    };
    expect(await create('a', 4)).toBe(0);
    expect(await create('b', 2)).toBe(44);
    expect(await create('c', 2 ** 31 - 1)).toBe(44);
    expect(await create('d', 0)).toBe(37);
    expect(await create('e', 1)).toBe(0);
    await client.classic('DeleteTopics', 1, { topics: ['a'], timeout: 1000 });
    expect(await create('b', 4)).toBe(0);
  });
});
