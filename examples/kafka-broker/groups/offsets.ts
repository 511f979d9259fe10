import type { Answer, BrokerContext, Call } from '../api.js';
import { type ErrorName, errorCodes } from '../errors.js';
import type { CommittedOffset } from './offset-store.js';

interface Asked {
  readonly groupId: string;
  /** Null for all that the group has committed. */
  readonly topics: readonly { name: string; partitions: number[] }[] | null;
}

const nothing = { offset: -1, leaderEpoch: -1, metadata: '' };

/** OffsetCommit: answered when the offsets are written. */
export async function offsetCommit(broker: BrokerContext, call: Call): Promise<Answer> {
  const { version, input, output } = call;
  const groupId = input.string();
  const generation = input.int32();
  const memberId = input.string();
  if (version >= 7) input.nullableString(); // instance id
  if (version <= 4) input.int64(); // retention: offsets are kept until they are deleted
  const topics = input.array(() => {
    const name = input.string();
    return { name, offsets: input.array(() => readOffset(call, name)) };
  });

  const errors = new Map<CommittedOffset, ErrorName>();
  const accepted: CommittedOffset[] = [];
  for (const offset of topics.flatMap(({ offsets }) => offsets)) {
    const error = check(broker, offset);
    if (error === 'NONE') accepted.push(offset);
    else errors.set(offset, error);
  }
  const error = await broker.coordinator.commit(groupId, memberId, generation, accepted);

  if (version >= 3) output.int32(0); // throttle time
  output.array(topics, ({ name, offsets }) => {
    output.string(name).array(offsets, (offset) => {
      output.int32(offset.partition).int16(errorCodes[errors.get(offset) ?? error]);
    });
  });
  return output.tags();
}

function readOffset({ version, input }: Call, topic: string): CommittedOffset {
  return {
    topic,
    partition: input.int32(),
    offset: input.int64(),
    leaderEpoch: version >= 6 ? input.int32() : -1,
    metadata: input.nullableString() ?? '',
  };
}

function check(broker: BrokerContext, { topic, partition, metadata }: CommittedOffset): ErrorName {
  if (broker.topics.partition(topic, partition) === undefined) return 'UNKNOWN_TOPIC_OR_PARTITION';
  return broker.coordinator.acceptsMetadata(metadata) ? 'NONE' : 'OFFSET_METADATA_TOO_LARGE';
}

/** OffsetFetch: of one group, or from version 8 on of several. */
export function offsetFetch(broker: BrokerContext, call: Call): Answer {
  const { version, input, output } = call;
  if (version >= 8) {
    const asked = input.array(() => {
      const groupId = input.string();
      if (version >= 9) {
        input.nullableString(); // member id
        input.int32(); // and epoch, of the protocol of consumer groups that isn't here
      }
      return { groupId, topics: readTopics(call) };
    });
    output.int32(0); // throttle time
    output.array(asked, (group) => {
      output.string(group.groupId);
      writeTopics(broker, call, group);
      output.int16(errorCodes.NONE);
    });
    return output.tags();
  }
  const asked = { groupId: input.string(), topics: readTopics(call) };
  if (version >= 3) output.int32(0); // throttle time
  writeTopics(broker, call, asked);
  if (version >= 2) output.int16(errorCodes.NONE);
  return output.tags();
}

function readTopics({ input }: Call): Asked['topics'] {
  return input.nullableArray(() => ({
    name: input.string(),
    partitions: input.list(() => input.int32()),
  }));
}

function writeTopics({ coordinator }: BrokerContext, call: Call, { groupId, topics }: Asked): void {
  const { version, output } = call;
  output.array(topics ?? allTopics(coordinator.offsets.ofGroup(groupId)), (topic) => {
    output.string(topic.name).array(topic.partitions, (partition) => {
      const committed = coordinator.offsets.get(groupId, topic.name, partition) ?? nothing;
      output.int32(partition).int64(committed.offset);
      if (version >= 5) output.int32(committed.leaderEpoch);
      output.string(committed.metadata).int16(errorCodes.NONE);
    });
  });
}

function allTopics(offsets: readonly CommittedOffset[]): { name: string; partitions: number[] }[] {
  const partitions = new Map<string, number[]>();
  for (const { topic, partition } of offsets) {
    partitions.set(topic, [...(partitions.get(topic) ?? []), partition]);
  }
  return [...partitions].map(([name, numbers]) => ({ name, partitions: numbers }));
}
