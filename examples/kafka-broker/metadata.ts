import { type Answer, type BrokerContext, type Call, nodeId } from './api.js';
import { type ErrorName, errorCodes, errorNameOf } from './errors.js';
import type { Topic } from './topic-store.js';

interface TopicRequest {
  readonly id: string | null;
  readonly name: string | null;
}

interface TopicAnswer {
  readonly error: ErrorName;
  readonly name: string | null;
  readonly id: string;
  readonly partitionCount: number;
}

const noId = '00000000-0000-0000-0000-000000000000';
/** "Not computed": there is no authorization. */
const noOperations = -2_147_483_648;

/** Metadata: the broker and the topics; topics that clients ask for are made. */
export async function metadata(broker: BrokerContext, call: Call): Promise<Answer> {
  const { version, input, output } = call;
  const requested = input.nullableArray(() => readTopic(call));
  const autoCreate = version < 4 || input.boolean();
  // Null stands for all topics; in version 0 an empty array did.
  const isForAll = requested === null || (version === 0 && requested.length === 0);
  const topics = isForAll
    ? broker.topics.all().map(found)
    : await Promise.all(requested.map((topic) => describe(broker, topic, autoCreate)));

  if (version >= 3) output.int32(0); // throttle time
  output.array([broker], ({ host, port }) => {
    output.int32(nodeId).string(host).int32(port);
    if (version >= 1) output.string(null); // rack
  });
  if (version >= 2) output.string(broker.clusterId);
  if (version >= 1) output.int32(nodeId); // the controller
  output.array(topics, (topic) => writeTopic(call, topic));
  if (version >= 8 && version <= 10) output.int32(noOperations);
  return output.tags();
}

function readTopic({ version, input }: Call): TopicRequest {
  return { id: version >= 10 ? input.uuid() : null, name: input.nullableString() };
}

async function describe(
  broker: BrokerContext,
  { id, name }: TopicRequest,
  autoCreate: boolean,
): Promise<TopicAnswer> {
  if (name === null) {
    const topic = broker.topics.byId(id ?? noId);
    return topic === undefined ? missing('UNKNOWN_TOPIC_ID', null, id ?? noId) : found(topic);
  }
  const topic = broker.topics.get(name);
  if (topic !== undefined) return found(topic);
  if (!autoCreate) return missing('UNKNOWN_TOPIC_OR_PARTITION', name);
  try {
    return found(await broker.topics.ensure(name, broker.defaultPartitions));
  } catch (error) {
    return missing(errorNameOf(error), name);
  }
}

function found({ name, id, partitions }: Topic): TopicAnswer {
  return { error: 'NONE', name, id, partitionCount: partitions.length };
}

function missing(error: ErrorName, name: string | null, id = noId): TopicAnswer {
  return { error, name, id, partitionCount: 0 };
}

function writeTopic({ version, output }: Call, topic: TopicAnswer): void {
  // Null is for version 12, where a topic can be asked for by its id alone.
  output.int16(errorCodes[topic.error]).string(version >= 12 ? topic.name : (topic.name ?? ''));
  if (version >= 10) output.uuid(topic.id);
  if (version >= 1) output.boolean(false); // internal
  output.array([...Array(topic.partitionCount).keys()], (partition) => {
    output.int16(errorCodes.NONE).int32(partition).int32(nodeId);
    if (version >= 7) output.int32(0); // leader epoch
    output.list([nodeId], (id) => output.int32(id)); // replicas
    output.list([nodeId], (id) => output.int32(id)); // replicas in sync
    if (version >= 5) output.list([], () => undefined); // replicas offline
  });
  if (version >= 8) output.int32(noOperations);
}
