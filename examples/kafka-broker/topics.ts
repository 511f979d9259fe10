import { type Answer, type BrokerContext, type Call, nodeId } from './api.js';
import { type ErrorName, errorCodes, errorNameOf } from './errors.js';
import type { Topic } from './topic-store.js';

interface NewTopic {
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly assignments: readonly { partition: number; brokers: number[] }[];
  readonly configs: readonly string[];
}

interface CreatedTopic {
  readonly name: string;
  readonly error: ErrorName;
  readonly id: string;
  readonly partitions: number;
}

const noId = '00000000-0000-0000-0000-000000000000';

/** CreateTopics. Topic configurations are accepted, reported and without effect. */
export async function createTopics(broker: BrokerContext, call: Call): Promise<Answer> {
  const { version, input, output } = call;
  const requested = input.array(() => readNewTopic(call));
  input.int32(); // time-out
  const validateOnly = version >= 1 && input.boolean();
  const topics: CreatedTopic[] = [];
  for (const topic of requested) topics.push(await create(broker, topic, validateOnly));

  if (version >= 2) output.int32(0); // throttle time
  output.array(topics, ({ name, error, id, partitions }) => {
    output.string(name);
    if (version >= 7) output.uuid(id);
    output.int16(errorCodes[error]);
    if (version >= 1) output.string(error === 'NONE' ? null : error);
    if (version < 5) return;
    output.int32(partitions).int16(error === 'NONE' ? 1 : -1);
    output.array([], () => undefined); // configurations
  });
  return output.tags();
}

/** DeleteTopics: the topic, its files and what groups have committed for it. */
export async function deleteTopics(broker: BrokerContext, call: Call): Promise<Answer> {
  const { version, input, output } = call;
  const requested =
    version >= 6
      ? input.array(() => ({ name: input.nullableString(), id: input.uuid() }))
      : input.list(() => ({ name: input.string(), id: noId }));
  input.int32(); // time-out
  const results: { name: string | null; id: string; error: ErrorName }[] = [];
  for (const { name, id } of requested) {
    const topic = name === null ? broker.topics.byId(id) : broker.topics.get(name);
    const unknown = name === null ? 'UNKNOWN_TOPIC_ID' : 'UNKNOWN_TOPIC_OR_PARTITION';
    if (topic === undefined) results.push({ name, id, error: unknown });
    else results.push({ name: topic.name, id: topic.id, error: await remove(broker, topic) });
  }

  if (version >= 1) output.int32(0); // throttle time
  output.array(results, ({ name, id, error }) => {
    output.string(name);
    if (version >= 6) output.uuid(id);
    output.int16(errorCodes[error]);
    if (version >= 5) output.string(error === 'NONE' ? null : error);
  });
  return output.tags();
}

function readNewTopic({ input }: Call): NewTopic {
  return {
    name: input.string(),
    partitions: input.int32(),
    replicationFactor: input.int16(),
    assignments: input.array(() => ({
      partition: input.int32(),
      brokers: input.list(() => input.int32()),
    })),
    configs: input.array(() => {
      const name = input.string();
      return `${name}=${input.nullableString()}`;
    }),
  };
}

async function create(
  broker: BrokerContext,
  topic: NewTopic,
  validateOnly: boolean,
): Promise<CreatedTopic> {
  const { name, configs } = topic;
  try {
    const error = wrongReplicas(topic);
    if (error !== null) return { name, error, id: noId, partitions: -1 };
    const wanted = topic.assignments.length || topic.partitions;
    const partitions = wanted === -1 ? broker.defaultPartitions : wanted;
    if (configs.length > 0) broker.report(`topic ${name}: without effect: ${configs.join(', ')}`);
    if (validateOnly) {
      broker.topics.check(name, partitions);
      return { name, error: 'NONE', id: noId, partitions };
    }
    const { id } = await broker.topics.create(name, partitions);
    return { name, error: 'NONE', id, partitions };
  } catch (error) {
    return { name, error: errorNameOf(error), id: noId, partitions: -1 };
  }
}

/** A single broker has a single replica of everything. */
function wrongReplicas({ replicationFactor, assignments }: NewTopic): ErrorName | null {
  const numbers = new Set(assignments.map(({ partition }) => partition));
  const isComplete = assignments.every((_, i) => numbers.has(i));
  const isHere = assignments.every(({ brokers }) => brokers.length === 1 && brokers[0] === nodeId);
  if (!isComplete || !isHere) return 'INVALID_REPLICA_ASSIGNMENT';
  return Math.abs(replicationFactor) === 1 ? null : 'INVALID_REPLICATION_FACTOR';
}

async function remove(broker: BrokerContext, topic: Topic): Promise<ErrorName> {
  try {
    await broker.topics.delete(topic);
    await broker.coordinator.offsets.deleteTopic(topic.name);
    return 'NONE';
  } catch (error) {
    return errorNameOf(error);
  }
}
