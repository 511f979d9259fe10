import type { Answer, BrokerContext, Call } from './api.js';
import { type ErrorName, errorCodes, errorNameOf, KafkaError } from './errors.js';
import type { Cursor, Log } from './log/log.js';

interface FetchRequest {
  readonly maxWaitMs: number;
  readonly minBytes: number;
  readonly maxBytes: number;
  readonly isNewSession: boolean;
  readonly topics: readonly { topic: string; partitions: readonly PartitionRequest[] }[];
}

interface PartitionRequest {
  readonly index: number;
  readonly offset: number;
  readonly maxBytes: number;
}

/** A partition on its way from the request to the response. */
interface PartitionFetch extends PartitionRequest {
  readonly log: Log | null;
  readonly cursor: Cursor | null;
  readonly error: ErrorName;
}

interface FetchedPartition {
  readonly index: number;
  readonly error: ErrorName;
  readonly endOffset: number;
  readonly startOffset: number;
  readonly records: Buffer;
}

/** A response isn't larger than this, whatever the client asks for: Kafka's `fetch.max.bytes`. */
const maxResponseBytes = 57_671_680;
const empty = Buffer.alloc(0);

/**
 * Fetch: batches as they are stored. A fetch at the end of its partitions waits: until they have
 * `minBytes` more, or for its `maxWaitMs`, or until its client is gone or the broker closes.
 */
export async function fetch(broker: BrokerContext, call: Call): Promise<Answer> {
  const { version, output } = call;
  const request = readRequest(call);
  if (!request.isNewSession) return refuse(call, 'FETCH_SESSION_ID_NOT_FOUND');
  const topics = await Promise.all(
    request.topics.map(async ({ topic, partitions }) => ({
      topic,
      partitions: await Promise.all(
        partitions.map((partition) => locate(broker, version, topic, partition)),
      ),
    })),
  );
  const fetches = topics.flatMap(({ partitions }) => partitions);
  if (!hasEnough(fetches, request) && request.maxWaitMs > 0) {
    await untilEnough(fetches, request, [broker.closing, call.signal]);
  }

  let bytesLeft = Math.min(request.maxBytes, maxResponseBytes);
  let isFirst = true;
  const responses: { topic: string; partitions: FetchedPartition[] }[] = [];
  for (const { topic, partitions } of topics) {
    const fetched: FetchedPartition[] = [];
    for (const partition of partitions) {
      const result = await read(partition, bytesLeft, isFirst);
      bytesLeft -= result.records.length;
      isFirst &&= result.records.length === 0;
      fetched.push(result);
    }
    responses.push({ topic, partitions: fetched });
  }

  if (version >= 1) output.int32(0); // throttle time
  if (version >= 7) output.int16(errorCodes.NONE).int32(0); // no session
  output.array(responses, ({ topic, partitions }) => {
    if (version >= 13) output.uuid(topic);
    else output.string(topic);
    output.array(partitions, (partition) => writePartition(call, partition));
  });
  return output.tags();
}

function readRequest(call: Call): FetchRequest {
  const { version, input } = call;
  if (version < 15) input.int32(); // replica: this is a client
  const maxWaitMs = input.int32();
  const minBytes = input.int32();
  const maxBytes = input.int32();
  input.int8(); // isolation level: there are no transactions
  // Sessions are offered by the broker, and this one doesn't: every fetch is a full one.
  const sessionId = version >= 7 ? input.int32() : 0;
  const sessionEpoch = version >= 7 ? input.int32() : -1;
  const topics = input.array(() => ({
    topic: version >= 13 ? input.uuid() : input.string(),
    partitions: input.array(() => readPartition(call)),
  }));
  // What follows is about sessions and racks.
  const isNewSession = sessionId === 0 && sessionEpoch <= 0;
  return { maxWaitMs, minBytes, maxBytes, isNewSession, topics };
}

function readPartition({ version, input }: Call): PartitionRequest {
  const index = input.int32();
  if (version >= 9) input.int32(); // leader epoch: it never changes
  const offset = input.int64();
  if (version >= 12) input.int32(); // epoch of the last fetch
  if (version >= 5) input.int64(); // a follower's start offset
  return { index, offset, maxBytes: input.int32() };
}

async function locate(
  broker: BrokerContext,
  version: number,
  topic: string,
  request: PartitionRequest,
): Promise<PartitionFetch> {
  try {
    const { topics } = broker;
    const known = version >= 13 ? topics.byId(topic) : topics.get(topic);
    const log = known?.partitions[request.index];
    if (known === undefined && version >= 13) throw new KafkaError('UNKNOWN_TOPIC_ID');
    if (log === undefined) throw new KafkaError('UNKNOWN_TOPIC_OR_PARTITION');
    return { ...request, log, cursor: await log.find(request.offset), error: 'NONE' };
  } catch (error) {
    return { ...request, log: null, cursor: null, error: errorNameOf(error) };
  }
}

/** Whether there is nothing to wait for: enough bytes, or an error to tell. */
function hasEnough(fetches: readonly PartitionFetch[], request: FetchRequest): boolean {
  let bytes = 0;
  for (const { log, cursor, error, maxBytes } of fetches) {
    if (error !== 'NONE' || log?.closed) return true;
    if (log === null || cursor === null) continue;
    const available = log.bytesFrom(cursor);
    // What a partition may not deliver in one response doesn't count.
    bytes += Math.min(available, Math.max(1, maxBytes));
  }
  return bytes >= Math.min(request.minBytes, request.maxBytes);
}

function untilEnough(
  fetches: readonly PartitionFetch[],
  request: FetchRequest,
  signals: readonly AbortSignal[],
): Promise<void> {
  if (signals.some(({ aborted }) => aborted)) return Promise.resolve();
  return new Promise((resolve) => {
    const listening: (() => void)[] = [];
    const end = () => {
      clearTimeout(timer);
      for (const stop of listening) stop();
      for (const signal of signals) signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, request.maxWaitMs);
    for (const signal of signals) signal.addEventListener('abort', end);
    for (const { log } of fetches) {
      const stop = log?.onChange(() => {
        if (hasEnough(fetches, request)) end();
      });
      if (stop !== undefined) listening.push(stop);
    }
  });
}

async function read(
  { index, log, cursor, error, maxBytes }: PartitionFetch,
  bytesLeft: number,
  isFirst: boolean,
): Promise<FetchedPartition> {
  if (log === null || cursor === null) return failed(index, error);
  try {
    if (log.closed) throw new KafkaError('UNKNOWN_TOPIC_OR_PARTITION');
    // A batch larger than all limits is delivered all the same, or its consumer would be stuck.
    const records = await log.read(cursor, Math.min(maxBytes, bytesLeft), isFirst);
    const { endOffset, startOffset } = log;
    return { index, error: 'NONE', endOffset, startOffset, records };
  } catch (failure) {
    return failed(index, errorNameOf(failure));
  }
}

function failed(index: number, error: ErrorName): FetchedPartition {
  return { index, error, endOffset: -1, startOffset: -1, records: empty };
}

function writePartition({ version, output }: Call, partition: FetchedPartition): void {
  const { index, error, endOffset, startOffset, records } = partition;
  output.int32(index).int16(errorCodes[error]);
  output.int64(endOffset); // high watermark
  output.int64(endOffset); // last stable offset
  if (version >= 5) output.int64(startOffset);
  output.array([], () => undefined); // aborted transactions
  if (version >= 11) output.int32(-1); // no better replica
  output.bytes(records);
}

function refuse({ output }: Call, error: ErrorName): Answer {
  output.int32(0).int16(errorCodes[error]).int32(0);
  return output.array([], () => undefined).tags();
}
