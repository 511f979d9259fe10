import { protocolErrors } from '@platformatic/kafka';

const names = [
  'NONE',
  'OFFSET_OUT_OF_RANGE',
  'CORRUPT_MESSAGE',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'MESSAGE_TOO_LARGE',
  'OFFSET_METADATA_TOO_LARGE',
  'COORDINATOR_NOT_AVAILABLE',
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_REQUIRED_ACKS',
  'ILLEGAL_GENERATION',
  'INCONSISTENT_GROUP_PROTOCOL',
  'INVALID_GROUP_ID',
  'UNKNOWN_MEMBER_ID',
  'INVALID_SESSION_TIMEOUT',
  'REBALANCE_IN_PROGRESS',
  'UNSUPPORTED_VERSION',
  'TOPIC_ALREADY_EXISTS',
  'INVALID_PARTITIONS',
  'INVALID_REPLICATION_FACTOR',
  'INVALID_REPLICA_ASSIGNMENT',
  'INVALID_REQUEST',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
  'POLICY_VIOLATION',
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'INVALID_PRODUCER_EPOCH',
  'KAFKA_STORAGE_ERROR',
  'NON_EMPTY_GROUP',
  'GROUP_ID_NOT_FOUND',
  'FETCH_SESSION_ID_NOT_FOUND',
  'MEMBER_ID_REQUIRED',
  'GROUP_MAX_SIZE_REACHED',
  'INVALID_RECORD',
  'UNKNOWN_TOPIC_ID',
] as const;

/** The names of the protocol's errors that this broker answers with. */
export type ErrorName = (typeof names)[number];

/** What the protocol says instead of the name. */
export const errorCodes = Object.fromEntries(
  names.map((name) => {
    const definition = protocolErrors[name];
    if (definition === undefined) throw new Error(`the protocol library lacks ${name}`);
    return [name, definition.code];
  }),
) as Record<ErrorName, number>;

/** Something that a client asked for and doesn't get; the message is for the broker's log. */
export class KafkaError extends Error {
  readonly code: ErrorName;

  constructor(code: ErrorName, message: string = code) {
    super(message);
    this.name = 'KafkaError';
    this.code = code;
  }
}

/** The name of a failure: a {@link KafkaError}'s own; whatever else goes on upwards. */
export function errorNameOf(error: unknown): ErrorName {
  if (error instanceof KafkaError) return error.code;
  throw error;
}
