import * as platformatic from '@platformatic/kafka';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Broker } from '../../examples/kafka-broker/broker.js';
import { ProtocolClient } from './protocol-client.js';
import { startBroker } from './support.js';

let broker: Broker;
let client: ProtocolClient;

beforeEach(async () => {
  // What is in a frame doesn't depend on the transport.
  ({ broker } = await startBroker({ transport: 'js' }));
  client = await ProtocolClient.connect(broker.port);
});

/** The versions of an API that a library can speak, as vitest's `each` takes them. */
const upTo = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

async function produceClassic(values: string[]): Promise<void> {
  await client.classic('Metadata', 4, { topics: ['t'], allowAutoTopicCreation: true });
  for (const value of values) await produceOne(7, value);
}

function produceOne(version: number, value: string) {
  const messages = [{ key: 'k', value, headers: { h: 'x' } }];
  const topicData = [{ topic: 't', partitions: [{ partition: 0, firstSequence: 0, messages }] }];
  return client.classic('Produce', version, { acks: 1, timeout: 1000, topicData });
}

describe('classic versions, by the encoders of kafkajs', () => {
  test.each(upTo(0, 2))('ApiVersions %i', async (version) => {
    const { errorCode, apiVersions } = await client.classic('ApiVersions', version);
    expect(errorCode).toBe(0);
    expect(apiVersions).toContainEqual({ apiKey: 1, minVersion: 4, maxVersion: 17 });
    expect(apiVersions).toContainEqual({ apiKey: 0, minVersion: 0, maxVersion: 11 });
  });

  test.each(upTo(0, 6))('Metadata %i', async (version) => {
    const topics = ['t'];
    const payload = { topics, allowAutoTopicCreation: true };
    const answer = await client.classic('Metadata', version, payload);
    expect(answer.brokers).toMatchObject([{ nodeId: 1, host: '127.0.0.1', port: broker.port }]);
    expect(answer.topicMetadata).toMatchObject([
      {
        topicErrorCode: 0,
        topic: 't',
        partitionMetadata: [{ partitionErrorCode: 0, partitionId: 0, leader: 1, replicas: [1] }],
      },
    ]);
    // All topics are asked for by an empty array in version 0, by null in later ones.
    const all = await client.classic('Metadata', version, { topics: [] });
    expect(all.topicMetadata).toHaveLength(1);
  });

  test.each(upTo(4, 6))('Metadata %i makes no topic that it is not to make', async (version) => {
    const payload = { topics: ['absent'], allowAutoTopicCreation: false };
    const answer = await client.classic('Metadata', version, payload);
    expect(answer.topicMetadata).toMatchObject([{ topicErrorCode: 3, partitionMetadata: [] }]);
  });

  test.each(upTo(3, 7))('Produce %i', async (version) => {
    await produceClassic(['before']);
    const { topics } = await produceOne(version, 'value');
    expect(topics).toMatchObject([
      { topicName: 't', partitions: [{ partition: 0, errorCode: 0, baseOffset: '1' }] },
    ]);
  });

  test.each(upTo(4, 11))('Fetch %i', async (version) => {
    await produceClassic(['one', 'two']);
    const partitions = [{ partition: 0, fetchOffset: '1', maxBytes: 100_000 }];
    const { responses } = await client.classic('Fetch', version, {
      ...{ maxWaitTime: 100, minBytes: 1, maxBytes: 1_000_000 },
      topics: [{ topic: 't', partitions }],
    });
    const [{ topicName, partitions: fetched }] = responses;
    expect(topicName).toBe('t');
    expect(fetched).toMatchObject([{ partition: 0, errorCode: 0, highWatermark: '2' }]);
    expect(fetched[0].messages).toMatchObject([
      { offset: '1', key: Buffer.from('k'), value: Buffer.from('two') },
    ]);
  });

  test.each(upTo(1, 3))('ListOffsets %i', async (version) => {
    await produceClassic(['one', 'two']);
    const offsetAt = async (timestamp: number) => {
      const topics = [{ topic: 't', partitions: [{ partition: 0, timestamp }] }];
      const { responses } = await client.classic('ListOffsets', version, { topics });
      return responses[0].partitions[0].offset;
    };
    expect([await offsetAt(-2), await offsetAt(-1), await offsetAt(0)]).toEqual(['0', '2', '0']);
    expect(await offsetAt(Date.now() + 100_000)).toBe('-1');
  });

  test.each(upTo(0, 2))('FindCoordinator %i', async (version) => {
    const answer = await client.classic('GroupCoordinator', version, { groupId: 'g' });
    expect(answer).toMatchObject({ errorCode: 0, coordinator: { nodeId: 1, host: '127.0.0.1' } });
  });

  test.each([
    [0, 0, 0, 0, 2, 1, 0],
    [1, 1, 1, 1, 3, 2, 1],
    [2, 2, 2, 2, 4, 3, 2],
    [3, 3, 3, 3, 5, 4, 2],
    [4, 3, 3, 3, 5, 4, 2],
    [5, 3, 3, 3, 5, 4, 2],
  ])(
    'JoinGroup %i, SyncGroup %i, Heartbeat %i, LeaveGroup %i, OffsetCommit %i, OffsetFetch %i, DescribeGroups %i',
    async (join, sync, beat, leave, commit, fetch, describeGroups) => {
      await produceClassic(['one']);
      const groupProtocols = [{ name: 'range', metadata: Buffer.from('topics') }];
      const timeouts = { sessionTimeout: 10_000, rebalanceTimeout: 10_000 };
      const common = { groupId: 'g', protocolType: 'consumer', groupProtocols, ...timeouts };
      let joined = await client.classic('JoinGroup', join, { ...common, memberId: '' });
      if (join >= 4) {
        expect(joined.errorCode).toBe(79);
        joined = await client.classic('JoinGroup', join, { ...common, memberId: joined.memberId });
      }
      const { memberId } = joined;
      expect(joined).toMatchObject({
        ...{ errorCode: 0, generationId: 1, groupProtocol: 'range', leaderId: memberId },
        members: [{ memberId, memberMetadata: Buffer.from('topics') }],
      });

      const memberAssignment = Buffer.from('everything');
      const groupAssignment = [{ memberId, memberAssignment }];
      const ids = { groupId: 'g', generationId: 1, groupGenerationId: 1, memberId };
      const synced = await client.classic('SyncGroup', sync, { ...ids, groupAssignment });
      expect(synced).toMatchObject({ errorCode: 0, memberAssignment });
      expect(await client.classic('Heartbeat', beat, ids)).toMatchObject({ errorCode: 0 });

      const described = await client.classic('DescribeGroups', describeGroups, { groupIds: ['g'] });
      expect(described.groups).toMatchObject([
        {
          ...{ errorCode: 0, groupId: 'g', state: 'Stable', protocolType: 'consumer' },
          members: [{ memberId, clientId: 'test', clientHost: '/127.0.0.1', memberAssignment }],
        },
      ]);

      const offsets = [{ partition: 0, offset: '1', metadata: 'note' }];
      const topics = [{ topic: 't', partitions: offsets }];
      const committed = await client.classic('OffsetCommit', commit, { ...ids, topics });
      expect(committed.responses).toMatchObject([{ partitions: [{ errorCode: 0 }] }]);
      const fetched = await client.classic('OffsetFetch', fetch, {
        groupId: 'g',
        topics: [{ topic: 't', partitions: [{ partition: 0 }] }],
      });
      expect(fetched.responses).toMatchObject([
        { topic: 't', partitions: [{ partition: 0, offset: '1', metadata: 'note', errorCode: 0 }] },
      ]);

      const left = await client.classic('LeaveGroup', leave, {
        ...ids,
        members: [{ memberId }],
      });
      expect(left.errorCode).toBe(0);
      expect((await client.classic('Heartbeat', beat, ids)).errorCode).toBe(25);
    },
  );

  test.each(upTo(0, 2))('ListGroups %i', async (version) => {
    expect(await client.classic('ListGroups', version)).toMatchObject({ errorCode: 0, groups: [] });
  });

  test.each([
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 1],
  ])('CreateTopics %i, DeleteTopics %i', async (create, remove) => {
    const topics = [{ topic: 'made', numPartitions: 3, replicationFactor: 1 }];
    const made = await client.classic('CreateTopics', create, { topics, timeout: 1000 });
    expect(made.topicErrors).toMatchObject([{ topic: 'made', errorCode: 0 }]);
    const again = await client.classic('CreateTopics', create, { topics, timeout: 1000 });
    expect(again.topicErrors).toMatchObject([{ topic: 'made', errorCode: 36 }]);
    const { topicMetadata } = await client.classic('Metadata', 1, { topics: ['made'] });
    expect(topicMetadata[0].partitionMetadata).toHaveLength(3);
    const removed = await client.classic('DeleteTopics', remove, {
      topics: ['made', 'absent'],
      timeout: 1000,
    });
    // The library sorts them.
    expect(removed.topicErrors).toEqual([
      { topic: 'absent', errorCode: 3 },
      { topic: 'made', errorCode: 0 },
    ]);
  });

  test.each(upTo(0, 1))('InitProducerId %i', async (version) => {
    const first = await client.classic('InitProducerId', version, { transactionalId: null });
    const second = await client.classic('InitProducerId', version, { transactionalId: null });
    expect(first).toMatchObject({ errorCode: 0, producerEpoch: 0 });
    expect(Number(second.producerId)).toBe(Number(first.producerId) + 1);
    const refused = await client.classic('InitProducerId', version, { transactionalId: 'tx' });
    expect(refused).toMatchObject({ errorCode: 42, producerId: '-1' });
  });
});

describe('flexible versions, by the encoders of @platformatic/kafka', () => {
  const { metadataV12, createTopicsV7, produceV11 } = platformatic;
  const message = (value: string) => ({ topic: 't', partition: 0, value: Buffer.from(value) });

  async function makeTopic(): Promise<string> {
    const topic = {
      name: 't',
      numPartitions: 1,
      replicationFactor: 1,
      assignments: [],
      configs: [],
    };
    const { topics } = await client.flexible(createTopicsV7, [topic], 1000, false);
    expect(topics).toMatchObject([{ name: 't', errorCode: 0, numPartitions: 1 }]);
    return topics[0].topicId;
  }

  test.each([
    [3, platformatic.apiVersionsV3],
    [4, platformatic.apiVersionsV4],
  ])('ApiVersions %i', async (_, api) => {
    const { errorCode, apiKeys } = await client.flexible(api, 'test', '1.0');
    expect(errorCode).toBe(0);
    expect(apiKeys).toContainEqual({ apiKey: 1, name: 'Fetch', minVersion: 4, maxVersion: 17 });
  });

  test.each([
    [11, platformatic.metadataV11],
    [12, metadataV12],
  ])('Metadata %i', async (_, api) => {
    const answer = await client.flexible(api, ['t'], true, false);
    expect(answer).toMatchObject({
      brokers: [{ nodeId: 1, host: '127.0.0.1', rack: null }],
      topics: [{ errorCode: 0, name: 't', partitions: [{ partitionIndex: 0, leaderId: 1 }] }],
    });
  });

  test.each([
    [7, platformatic.produceV7],
    [8, platformatic.produceV8],
    [9, platformatic.produceV9],
    [10, platformatic.produceV10],
    [11, produceV11],
  ])('Produce %i', async (_, api) => {
    await makeTopic();
    const { responses } = await client.flexible(api, -1, 1000, [message('one')], {});
    expect(responses).toMatchObject([
      { name: 't', partitionResponses: [{ index: 0, errorCode: 0, baseOffset: 0n }] },
    ]);
  });

  test.each([
    [12, platformatic.fetchV12],
    [13, platformatic.fetchV13],
    [14, platformatic.fetchV14],
    [15, platformatic.fetchV15],
    [16, platformatic.fetchV16],
    [17, platformatic.fetchV17],
  ])('Fetch %i', async (version, api) => {
    const id = await makeTopic();
    await client.flexible(produceV11, -1, 1000, [message('one')], {});
    await client.flexible(produceV11, -1, 1000, [message('two')], {});
    const topicId = version >= 13 ? id : 't';
    const fetchOf = (partition: object) =>
      client.flexible(
        api,
        100,
        1,
        1_000_000,
        0,
        0,
        -1,
        [{ topicId, partitions: [partition] }],
        [],
        '',
      );
    const partition = { partition: 0, currentLeaderEpoch: -1, lastFetchedEpoch: -1 };
    const { responses } = await fetchOf({
      ...{ ...partition, fetchOffset: 1n, partitionMaxBytes: 100_000 },
    });
    expect(responses).toMatchObject([
      { topicId, partitions: [{ partitionIndex: 0, errorCode: 0, highWatermark: 2n }] },
    ]);
    const [{ records }] = responses[0].partitions;
    expect(records).toMatchObject([{ firstOffset: 1n, records: [{ value: Buffer.from('two') }] }]);
  });

  test.each([
    [8, platformatic.listOffsetsV8],
    [9, platformatic.listOffsetsV9],
  ])('ListOffsets %i', async (_, api) => {
    await makeTopic();
    await client.flexible(produceV11, -1, 1000, [{ ...message('one'), timestamp: 7n }], {});
    const offsetAt = async (timestamp: bigint) => {
      const partitions = [{ partitionIndex: 0, currentLeaderEpoch: -1, timestamp }];
      const { topics } = await client.flexible(api, -1, 0, [{ name: 't', partitions }]);
      return topics[0].partitions[0].offset;
    };
    const offsets: bigint[] = [];
    for (const time of [-1n, -2n, -3n, -4n, 7n, 8n]) offsets.push(await offsetAt(time));
    expect(offsets).toEqual([1n, 0n, 0n, 0n, 0n, -1n]);
  });

  test.each([
    [4, platformatic.findCoordinatorV4],
    [5, platformatic.findCoordinatorV5],
    [6, platformatic.findCoordinatorV6],
  ])('FindCoordinator %i', async (_, api) => {
    const { coordinators } = await client.flexible(api, 0, ['a', 'b']);
    expect(coordinators).toMatchObject([
      { key: 'a', nodeId: 1, host: '127.0.0.1', errorCode: 0 },
      { key: 'b', nodeId: 1, host: '127.0.0.1', errorCode: 0 },
    ]);
    await expect(client.flexible(api, 1, ['transaction'])).rejects.toMatchObject({
      response: { coordinators: [{ errorCode: 42 }] },
    });
  });

  test('the APIs of groups', async () => {
    await makeTopic();
    const { joinGroupV9, syncGroupV5, heartbeatV4, leaveGroupV5 } = platformatic;
    const protocols = [{ name: 'range', version: 0, metadata: Buffer.from('topics') }];
    const join = (memberId: string) =>
      client.flexible(
        joinGroupV9,
        ...['g', 10_000, 10_000, memberId, null, 'consumer', protocols, 'a reason'],
      );
    const memberId = await join('').catch((error) => error.response.memberId);
    expect(await join(memberId)).toMatchObject({
      ...{ generationId: 1, protocolType: 'consumer', protocolName: 'range', leader: memberId },
      members: [{ memberId, groupInstanceId: null, metadata: Buffer.from('topics') }],
    });
    const assignments = [{ memberId, assignment: Buffer.from('everything') }];
    expect(
      await client.flexible(syncGroupV5, 'g', 1, memberId, null, 'consumer', 'range', assignments),
    ).toMatchObject({ protocolName: 'range', assignment: Buffer.from('everything') });
    await client.flexible(heartbeatV4, 'g', 1, memberId, null);

    const { offsetCommitV8, offsetCommitV9, offsetFetchV8, offsetFetchV9 } = platformatic;
    for (const [i, api] of [offsetCommitV8, offsetCommitV9].entries()) {
      const committed = { committedOffset: BigInt(i), committedLeaderEpoch: 0 };
      const partitions = [{ partitionIndex: 0, ...committed, committedMetadata: 'note' }];
      await client.flexible(api, 'g', 1, memberId, null, [{ name: 't', partitions }]);
    }
    for (const api of [offsetFetchV8, offsetFetchV9]) {
      const topics = [{ name: 't', partitionIndexes: [0, 1] }];
      const groups = [{ groupId: 'g', memberId, memberEpoch: -1, topics }];
      expect(await client.flexible(api, groups, false)).toMatchObject({
        groups: [
          {
            groupId: 'g',
            topics: [
              {
                name: 't',
                partitions: [
                  { partitionIndex: 0, committedOffset: 1n, metadata: 'note', errorCode: 0 },
                  { partitionIndex: 1, committedOffset: -1n, metadata: '', errorCode: 0 },
                ],
              },
            ],
          },
        ],
      });
    }

    const { listGroupsV4, listGroupsV5, describeGroupsV5, deleteGroupsV2 } = platformatic;
    const listed = { groupId: 'g', protocolType: 'consumer', groupState: 'STABLE' };
    expect((await client.flexible(listGroupsV4, [])).groups).toMatchObject([
      { ...listed, groupState: 'Stable' },
    ]);
    expect((await client.flexible(listGroupsV5, ['EMPTY'], [])).groups).toEqual([]);
    expect((await client.flexible(listGroupsV5, ['STABLE'], ['classic'])).groups).toHaveLength(1);
    const { groups } = await client.flexible(describeGroupsV5, ['g', 'unknown'], false);
    expect(groups).toMatchObject([
      {
        groupState: 'Stable',
        members: [{ memberId, memberAssignment: Buffer.from('everything') }],
      },
      { groupState: 'Dead', members: [] },
    ]);
    await expect(client.flexible(deleteGroupsV2, ['g'])).rejects.toMatchObject({
      response: { results: [{ errorCode: 68 }] },
    });
    const leaving = [{ memberId, groupInstanceId: null, reason: 'done' }];
    await client.flexible(leaveGroupV5, 'g', leaving);
    await client.flexible(deleteGroupsV2, ['g']);
    await expect(client.flexible(deleteGroupsV2, ['g'])).rejects.toMatchObject({
      response: { results: [{ errorCode: 69 }] },
    });
  });

  test('DeleteTopics 6, by name and by id', async () => {
    const { deleteTopicsV6 } = platformatic;
    const id = await makeTopic();
    const unknown = '11111111-2222-3333-4444-555555555555';
    await expect(
      client.flexible(deleteTopicsV6, [{ name: null, topicId: unknown }], 1000),
    ).rejects.toMatchObject({ response: { responses: [{ errorCode: 100 }] } });
    expect(
      await client.flexible(deleteTopicsV6, [{ name: null, topicId: id }], 1000),
    ).toMatchObject({ responses: [{ name: 't', topicId: id, errorCode: 0 }] });
    await makeTopic();
    await client.flexible(deleteTopicsV6, [{ name: 't', topicId: null }], 1000);
  });

  test.each([
    [4, platformatic.initProducerIdV4],
    [5, platformatic.initProducerIdV5],
  ])('InitProducerId %i', async (_, api) => {
    const { producerId, producerEpoch } = await client.flexible(api, null, 1000, -1n, -1);
    expect(producerId).toBeGreaterThan(0n);
    expect(producerEpoch).toBe(0);
  });
});
