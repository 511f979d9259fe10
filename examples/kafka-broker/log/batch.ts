import { crc32c, DynamicBuffer, Reader } from '@platformatic/kafka';
import { KafkaError } from '../errors.js';
import { readInt64, toNumber, writeInt64 } from '../wire/int64.js';

/** What precedes a batch's records: everything that a broker has to know of a batch. */
export interface BatchHeader {
  readonly baseOffset: number;
  /** Of the whole batch, this header included. */
  readonly size: number;
  readonly magic: number;
  readonly crc: number;
  readonly attributes: number;
  readonly lastOffsetDelta: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly count: number;
}

export const batchHeaderBytes = 61;
/** Base offset and length: what the length itself doesn't count. */
const lengthOverhead = 12;
const crcCovers = 21;
const currentMagic = 2;
const codecBits = 0b111;
const transactionalBit = 0b10000;
const controlBit = 0b100000;

/** Reads the header of the batch that begins at `at`, of which all the header must be there. */
export function readBatchHeader(bytes: Buffer, at = 0): BatchHeader {
  return {
    baseOffset: readInt64(bytes, at),
    size: bytes.readInt32BE(at + 8) + lengthOverhead,
    // At 12 the leader epoch, which says nothing here.
    magic: bytes.readInt8(at + 16),
    crc: bytes.readUInt32BE(at + 17),
    attributes: bytes.readInt16BE(at + 21),
    lastOffsetDelta: bytes.readInt32BE(at + 23),
    baseTimestamp: readInt64(bytes, at + 27),
    maxTimestamp: readInt64(bytes, at + 35),
    producerId: readInt64(bytes, at + 43),
    producerEpoch: bytes.readInt16BE(at + 51),
    baseSequence: bytes.readInt32BE(at + 53),
    count: bytes.readInt32BE(at + 57),
  };
}

/** Whether these bytes are exactly the batch that `header` announces, undamaged. */
export function isIntact(bytes: Buffer, header: BatchHeader): boolean {
  if (header.magic !== currentMagic || header.size !== bytes.length) return false;
  // A DynamicBuffer is taken as it is, where a Buffer would be copied.
  return crc32c(new DynamicBuffer(bytes.subarray(crcCovers))) === header.crc;
}

/**
 * Checks the one batch of a produced partition, as Kafka does, and returns its header.
 *
 * @throws KafkaError what to answer the producer
 */
export function checkProduced(bytes: Buffer, maxBatchBytes: number): BatchHeader {
  if (bytes.length < batchHeaderBytes) throw new KafkaError('CORRUPT_MESSAGE');
  const header = readBatchHeader(bytes);
  if (header.magic !== currentMagic) throw new KafkaError('UNSUPPORTED_FOR_MESSAGE_FORMAT');
  if (header.size < batchHeaderBytes || header.size > bytes.length) {
    throw new KafkaError('CORRUPT_MESSAGE');
  }
  // From version 3 on a produce request has one batch for a partition.
  if (header.size < bytes.length) throw new KafkaError('INVALID_RECORD');
  if (header.size > maxBatchBytes) throw new KafkaError('MESSAGE_TOO_LARGE');
  if (!isIntact(bytes, header)) throw new KafkaError('CORRUPT_MESSAGE');
  if (header.count < 1 || header.lastOffsetDelta !== header.count - 1) {
    throw new KafkaError('INVALID_RECORD');
  }
  if ((header.attributes & (transactionalBit | controlBit)) !== 0) {
    throw new KafkaError('INVALID_RECORD');
  }
  return header;
}

/**
 * Makes a produced batch one of the log, in its own bytes: it gets its offset and the leader epoch,
 * which its CRC leaves out.
 */
export function placeBatch(bytes: Buffer, baseOffset: number): void {
  writeInt64(bytes, baseOffset, 0);
  bytes.writeInt32BE(0, 12); // the only broker has led from the beginning
}

/** How many of these bytes, which begin with a batch, are batches in full. */
export function wholeBatches(bytes: Buffer): number {
  let whole = 0;
  while (whole + lengthOverhead <= bytes.length) {
    const size = bytes.readInt32BE(whole + 8) + lengthOverhead;
    if (size < batchHeaderBytes || whole + size > bytes.length) break;
    whole += size;
  }
  return whole;
}

export interface TimestampedOffset {
  readonly offset: number;
  readonly timestamp: number;
}

/**
 * The first record of a batch with that timestamp or a later one. A compressed batch isn't taken
 * apart, and neither is one that its producer made badly: there the answer is the batch's begin.
 */
export function firstRecordSince(
  bytes: Buffer,
  header: BatchHeader,
  timestamp: number,
): TimestampedOffset {
  if ((header.attributes & codecBits) === 0) {
    try {
      for (const record of recordHeads(bytes, header)) {
        if (record.timestamp >= timestamp) return record;
      }
    } catch {
      // Records that end in the middle of a number.
    }
  }
  return { offset: header.baseOffset, timestamp: header.baseTimestamp };
}

function* recordHeads(bytes: Buffer, header: BatchHeader): Generator<TimestampedOffset> {
  const reader = Reader.from(bytes);
  reader.skip(batchHeaderBytes);
  for (let i = 0; i < header.count; i++) {
    const length = reader.readVarInt();
    const next = reader.position + length;
    if (length < 1 || next > bytes.length) return;
    reader.readInt8(); // the record's attributes, of which there are none
    const timestamp = toNumber(BigInt(header.baseTimestamp) + reader.readVarInt64());
    yield { timestamp, offset: header.baseOffset + reader.readVarInt() };
    reader.position = next;
  }
}
