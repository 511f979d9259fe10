import * as platformatic from '@platformatic/kafka';
import { beforeEach, describe, expect, test } from 'vitest';
import { Client } from '../support/client.js';
import { transports } from '../support/transports.js';
import { within } from '../support/wait.js';
import { ProtocolClient } from './protocol-client.js';
import { batchOf, type RunningBroker, randomNumbers, startBroker } from './support.js';

interface RecordedRequest {
  readonly key: number;
  readonly version: number;
  readonly body: Buffer;
}

/** What a client library would send. */
function record(api: { api: { async: unknown } }, ...args: unknown[]): RecordedRequest {
  let recorded: RecordedRequest | undefined;
  const send = (key: number, version: number, payload: () => { buffer: Buffer }) => {
    recorded = { key, version, body: Buffer.concat([Buffer.alloc(1), payload().buffer]) };
  };
  const call = api.api as unknown as (connection: object, ...rest: unknown[]) => void;
  call({ send }, ...args, () => undefined);
  if (recorded === undefined) throw new Error('the library sent nothing');
  return recorded;
}

const id = '11111111-2222-3333-4444-555555555555';
const fetchPartition = {
  ...{ partition: 0, currentLeaderEpoch: -1, fetchOffset: 0n, lastFetchedEpoch: -1 },
  partitionMaxBytes: 1000,
};
const commit = { partitionIndex: 0, committedOffset: 1n, committedLeaderEpoch: 0 };
const listed = { partitionIndex: 0, currentLeaderEpoch: -1, timestamp: 0n };
const asked = { groupId: 'g', memberId: 'm', memberEpoch: -1 };

/** One sound request for every API. */
const requests: readonly RecordedRequest[] = [
  record(platformatic.apiVersionsV3, 'test', '1.0'),
  record(platformatic.metadataV12, ['t', 'u'], true, true),
  record(
    platformatic.produceV11,
    1,
    100,
    [{ topic: 't', partition: 0, value: Buffer.from('v') }],
    {},
  ),
  record(
    platformatic.fetchV12,
    ...[10, 1, 1000, 0, 0, -1],
    [{ topicId: 't', partitions: [fetchPartition] }],
    [],
    '',
  ),
  record(
    platformatic.fetchV17,
    ...[10, 1, 1000, 0, 0, -1],
    [{ topicId: id, partitions: [fetchPartition] }],
    [],
    '',
  ),
  record(platformatic.listOffsetsV9, -1, 0, [{ name: 't', partitions: [listed] }]),
  record(platformatic.findCoordinatorV6, 0, ['g']),
  record(
    platformatic.joinGroupV9,
    'g',
    1000,
    1000,
    '',
    null,
    'consumer',
    [{ name: 'r', metadata: Buffer.from('m') }],
    '',
  ),
  record(platformatic.syncGroupV5, 'g', 1, 'm', null, 'consumer', 'r', [
    { memberId: 'm', assignment: Buffer.from('a') },
  ]),
  record(platformatic.heartbeatV4, 'g', 1, 'm', null),
  record(platformatic.leaveGroupV5, 'g', [{ memberId: 'm' }]),
  record(platformatic.offsetCommitV9, 'g', -1, '', null, [{ name: 't', partitions: [commit] }]),
  record(
    platformatic.offsetFetchV9,
    [{ ...asked, topics: [{ name: 't', partitionIndexes: [0] }] }],
    false,
  ),
  record(
    platformatic.createTopicsV7,
    [{ name: 'c', numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }],
    100,
    false,
  ),
  record(platformatic.deleteTopicsV6, [{ name: 'c', topicId: id }], 100),
  record(platformatic.initProducerIdV5, null, 100, -1n, -1),
  record(platformatic.listGroupsV5, ['Stable'], ['classic']),
  record(platformatic.describeGroupsV5, ['g'], true),
  record(platformatic.deleteGroupsV2, ['g']),
];

describe.each(transports)('bad input over the %s transport', (transport) => {
  let running: RunningBroker;
  let bystander: ProtocolClient;

  beforeEach(async () => {
    running = await startBroker({ transport });
    bystander = await ProtocolClient.connect(running.broker.port);
  });

  /** Whoever was connected before, and whoever connects now, is served. */
  async function expectService(): Promise<void> {
    for (const client of [bystander, await ProtocolClient.connect(running.broker.port)]) {
      expect((await client.classic('ApiVersions', 2)).errorCode).toBe(0);
    }
    // A stack trace would be a mistake of the broker's own.
    expect(running.lines.filter((line) => line.includes('\n'))).toEqual([]);
  }

  async function expectClosed(bytes: Buffer): Promise<void> {
    const client = await Client.connect(running.broker.port);
    client.send(bytes);
    expect(await client.readToEnd()).toHaveLength(0);
  }

  const framed = (body: Buffer) => {
    const size = Buffer.alloc(4);
    size.writeInt32BE(body.length);
    return Buffer.concat([size, body]);
  };

  test.each<[string, Buffer]>([
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: kafka\r\n\r\n')],
    ['a TLS handshake', Buffer.from('160301020001fc0303', 'hex')],
    ['a line of text', Buffer.from('hello, is anybody there?\n')],
    ['a negative size', Buffer.from('ffffffff', 'hex')],
    ['an empty frame', framed(Buffer.alloc(0))],
    ['half a header', framed(Buffer.from('00120003', 'hex'))],
    ['a header without a client id', framed(Buffer.from('0012000300000001', 'hex'))],
    ['an API that does not exist', framed(Buffer.from('7fff000000000001ffff', 'hex'))],
    ['an API that is not spoken', framed(Buffer.from('0004000000000001ffff', 'hex'))],
    ['a version that is too old', framed(Buffer.from('0001000300000001ffff', 'hex'))],
    ['a version that is too new', framed(Buffer.from('0003000d00000001ffff', 'hex'))],
    ['a negative version', framed(Buffer.from('0012ffff00000001ffff', 'hex'))],
    [
      'a version of Produce that is only said to be spoken',
      framed(Buffer.from('0000000200000001ffff', 'hex')),
    ],
    ['a client id longer than the frame', framed(Buffer.from('001200000000000100ff41', 'hex'))],
    [
      'a million topics',
      framed(
        Buffer.concat([
          Buffer.from('0003000100000001ffff000f4240', 'hex'),
          Buffer.alloc(2_000_000),
        ]),
      ),
    ],
  ])('%s: the connection is closed', async (_, bytes) => {
    await expectClosed(bytes);
    await expectService();
  });

  test('a version of ApiVersions that is too new gets an answer that every client can read', async () => {
    bystander.sendBody(18, 99, 7, Buffer.from('what a later version may contain'));
    const answer = await bystander.client.readFrame();
    // Correlation id, UNSUPPORTED_VERSION, and one API: ApiVersions from 0 to 4.
    expect(answer.toString('hex')).toBe('00000007' + '0023' + '00000001' + '001200000004');
    await expectService();
  });

  test('requests cut short at any byte', async () => {
    for (const { key, version, body } of requests) {
      const cuts = Array.from({ length: body.length }, (_, i) => i);
      await Promise.all(cuts.map((cut) => sendAndLeave(key, version, body.subarray(0, cut))));
    }
    await expectService();
  });

  test('requests with damaged bytes', async () => {
    const random = randomNumbers(4);
    for (const { key, version, body } of requests) {
      const damaged = Array.from({ length: 60 }, () => {
        const copy = Buffer.from(body);
        const count = 1 + Math.floor(random() * 3);
        for (let i = 0; i < count; i++) copy[Math.floor(random() * copy.length)] = random() * 256;
        return copy;
      });
      await Promise.all(damaged.map((copy) => sendAndLeave(key, version, copy)));
    }
    await expectService();
  });

  test('random bytes behind a header of any API and version', async () => {
    const random = randomNumbers(5);
    for (let round = 0; round < 20; round++) {
      const sends = Array.from({ length: 50 }, () => {
        const body = Buffer.from(Array.from({ length: random() * 200 }, () => random() * 256));
        return sendAndLeave(Math.floor(random() * 50), Math.floor(random() * 18), body);
      });
      await Promise.all(sends);
    }
    await expectService();
  });

  test('batches whose records are not what their header says', async () => {
    await bystander.flexible(platformatic.metadataV12, ['t'], true, false);
    const random = randomNumbers(6);
    for (let round = 0; round < 50; round++) {
      const batch = batchOf(['some', 'records', 'in', 'a', 'batch']);
      for (let i = 0; i < 5; i++) {
        batch[61 + Math.floor(random() * (batch.length - 61))] = random() * 256;
      }
      batch.writeUInt32BE(platformatic.crc32c(batch.subarray(21)), 17);
      const messages = { topic: 't', partition: 0 };
      const recorded = record(
        platformatic.produceV11,
        1,
        100,
        [{ ...messages, value: Buffer.alloc(0) }],
        {},
      );
      // The library's own batch is replaced by the damaged one.
      const at = recorded.body.indexOf(Buffer.from([2, 0, 0, 0, 0]));
      expect(at).toBeGreaterThan(0);
      const body = Buffer.concat([
        recorded.body.subarray(0, at + 5),
        platformatic.Writer.create().appendUnsignedVarInt(batch.length + 1).buffer,
        batch,
        Buffer.alloc(3),
      ]);
      bystander.sendBody(0, 11, 1, body);
      await bystander.client.readFrame();
    }
    const end = await bystander.classic('ListOffsets', 3, {
      topics: [{ topic: 't', partitions: [{ partition: 0, timestamp: -1 }] }],
    });
    expect(end.responses[0].partitions[0].offset).toBe('250');
    for (const timestamp of [0, Date.now() - 1, Date.now() + 1, 2 ** 52]) {
      const topics = [{ topic: 't', partitions: [{ partition: 0, timestamp }] }];
      await bystander.classic('ListOffsets', 3, { topics });
    }
    await expectService();
  });

  /** Sends a request, waits for an answer or an end (some wait long: not for them), and leaves. */
  async function sendAndLeave(key: number, version: number, body: Buffer): Promise<void> {
    const client = new ProtocolClient(await Client.connect(running.broker.port));
    const happened = new Promise<void>((resolve) => {
      client.client.socket.once('data', () => resolve());
      client.client.socket.once('close', () => resolve());
    });
    client.sendBody(key, version, 1, body);
    await within(happened, 'an answer', 100).catch(() => undefined);
    client.client.socket.destroy();
  }
});
