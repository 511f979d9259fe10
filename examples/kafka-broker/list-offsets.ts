import type { Answer, BrokerContext, Call } from './api.js';
import { type ErrorName, errorCodes, errorNameOf, KafkaError } from './errors.js';
import type { Log } from './log/log.js';

interface Found {
  readonly index: number;
  readonly error: ErrorName;
  readonly offset: number;
  readonly timestamp: number;
}

/** What stands in a request for a place instead of a time. */
const latest = -1;
const earliest = -2;
const withMaxTimestamp = -3;
/** With tiered storage, which isn't here: all there is, is local. */
const earliestLocal = -4;

/** ListOffsets: where a partition begins and ends, and what it had at a time. */
export async function listOffsets(broker: BrokerContext, call: Call): Promise<Answer> {
  const { version, input, output } = call;
  input.int32(); // replica: this is a client
  if (version >= 2) input.int8(); // isolation level: there are no transactions
  const requested = input.array(() => ({ name: input.string(), partitions: readPartitions(call) }));
  const topics = await Promise.all(
    requested.map(async ({ name, partitions }) => ({
      name,
      partitions: await Promise.all(
        partitions.map(({ index, timestamp }) =>
          find(broker.topics.partition(name, index), index, timestamp),
        ),
      ),
    })),
  );

  if (version >= 2) output.int32(0); // throttle time
  output.array(topics, ({ name, partitions }) => {
    output.string(name).array(partitions, ({ index, error, timestamp, offset }) => {
      output.int32(index).int16(errorCodes[error]).int64(timestamp).int64(offset);
      if (version >= 4) output.int32(offset < 0 ? -1 : 0); // leader epoch
    });
  });
  return output.tags();
}

function readPartitions({ version, input }: Call): { index: number; timestamp: number }[] {
  return input.array(() => {
    const index = input.int32();
    if (version >= 4) input.int32(); // leader epoch: it never changes
    return { index, timestamp: input.int64() };
  });
}

async function find(log: Log | undefined, index: number, timestamp: number): Promise<Found> {
  try {
    if (log === undefined) throw new KafkaError('UNKNOWN_TOPIC_OR_PARTITION');
    return { index, error: 'NONE', ...(await place(log, timestamp)) };
  } catch (error) {
    return { index, error: errorNameOf(error), offset: -1, timestamp: -1 };
  }
}

async function place(log: Log, timestamp: number): Promise<{ offset: number; timestamp: number }> {
  const nothing = { offset: -1, timestamp: -1 };
  switch (timestamp) {
    case latest:
      return { offset: log.endOffset, timestamp: -1 };
    case earliest:
    case earliestLocal:
      return { offset: log.startOffset, timestamp: -1 };
    case withMaxTimestamp:
      return (await log.findTimestamp(log.maxTimestamp)) ?? nothing;
    default:
      return (timestamp < 0 ? null : await log.findTimestamp(timestamp)) ?? nothing;
  }
}
