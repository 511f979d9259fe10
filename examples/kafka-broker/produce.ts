import { closeConnection, noReply } from 'odradek';
import type { Answer, BrokerContext, Call } from './api.js';
import { type ErrorName, errorCodes, errorNameOf, KafkaError } from './errors.js';
import { checkProduced } from './log/batch.js';

interface TopicData {
  readonly name: string;
  readonly partitions: readonly { index: number; records: Buffer | null }[];
}

interface PartitionResult {
  readonly index: number;
  readonly error: ErrorName;
  readonly baseOffset: number;
  readonly startOffset: number;
}

/**
 * Produce: stores batches as they came, compressed or not, and answers when they are written.
 *
 * With one broker all replicas are in sync once its own write is done, so acks=1 and acks=all are
 * the same. With acks=0 there is no answer, and as in Kafka a failure closes the connection, since
 * there is no other way to tell the producer.
 */
export function produce(broker: BrokerContext, call: Call): Answer {
  const { version, input, output } = call;
  input.nullableString(); // transactional id: batches of transactions are refused one by one
  const acks = input.int16();
  input.int32(); // time-out: nothing here waits for other brokers
  const requested = input.array(() => readTopic(call));

  const isValid = acks === 0 || acks === 1 || acks === -1;
  const topics = requested.map(({ name, partitions }) => ({
    name,
    results: partitions.map(({ index, records }) =>
      isValid
        ? append(broker, name, index, records)
        : failed(index, new KafkaError('INVALID_REQUIRED_ACKS')),
    ),
  }));
  if (acks === 0) {
    const hasFailed = topics.some(({ results }) => results.some(({ error }) => error !== 'NONE'));
    return hasFailed ? closeConnection : noReply;
  }

  output.array(topics, ({ name, results }) => {
    output.string(name).array(results, ({ index, error, baseOffset, startOffset }) => {
      output.int32(index).int16(errorCodes[error]).int64(baseOffset);
      output.int64(-1); // append time: records have their producer's
      if (version >= 5) output.int64(startOffset);
      if (version < 8) return;
      output.array([], () => undefined); // errors of single records
      output.string(null); // error message
    });
  });
  return output.int32(0).tags(); // throttle time
}

function readTopic({ input }: Call): TopicData {
  return {
    name: input.string(),
    partitions: input.array(() => ({ index: input.int32(), records: input.nullableBytes() })),
  };
}

function append(
  broker: BrokerContext,
  topic: string,
  index: number,
  records: Buffer | null,
): PartitionResult {
  try {
    const log = broker.topics.partition(topic, index);
    if (log === undefined) throw new KafkaError('UNKNOWN_TOPIC_OR_PARTITION');
    if (records === null) throw new KafkaError('INVALID_RECORD');
    const header = checkProduced(records, broker.maxBatchBytes);
    const baseOffset = log.append(records, header);
    return { index, error: 'NONE', baseOffset, startOffset: log.startOffset };
  } catch (error) {
    return failed(index, error);
  }
}

function failed(index: number, error: unknown): PartitionResult {
  return { index, error: errorNameOf(error), baseOffset: -1, startOffset: -1 };
}
