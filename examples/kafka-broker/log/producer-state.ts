import { KafkaError } from '../errors.js';
import type { BatchHeader } from './batch.js';

interface Written {
  readonly baseSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
}

interface Producer {
  epoch: number;
  /** The latest last. */
  written: Written[];
}

/** A producer may have so many batches in flight, and repeat any of them: Kafka's number. */
const batchesRemembered = 5;
/** The producers that a partition remembers; the longest silent one is forgotten first. */
const producersRemembered = 1000;
/** Sequence numbers go from 0 to 2^31 - 1 and round. */
const sequences = 2 ** 31;

/**
 * What makes an idempotent producer idempotent: which of its batches a partition has. Not stored:
 * the batches have all of it, so it is gathered from them when a log is opened.
 */
export class ProducerState {
  readonly #producers = new Map<number, Producer>();

  /**
   * Decides whether a batch is next in its producer's order.
   *
   * @returns the base offset that it has already, where it is a repetition; else null
   * @throws KafkaError where a batch before it is missing
   */
  check(header: BatchHeader): number | null {
    const producer = this.#producers.get(header.producerId);
    // One that was forgotten, or is new here, begins where it likes; one without an id is not known.
    if (producer === undefined) return null;
    if (header.producerEpoch < producer.epoch) throw new KafkaError('INVALID_PRODUCER_EPOCH');
    const isNewEpoch = header.producerEpoch > producer.epoch;
    const repeated = isNewEpoch ? undefined : producer.written.find((one) => isSame(one, header));
    if (repeated !== undefined) return repeated.baseOffset;
    const last = producer.written.at(-1)?.lastSequence ?? -1;
    const next = isNewEpoch ? 0 : (last + 1) % sequences;
    if (header.baseSequence !== next) throw new KafkaError('OUT_OF_ORDER_SEQUENCE_NUMBER');
    return null;
  }

  /** Takes in a batch that the log has, or is about to have. */
  record(header: BatchHeader, baseOffset: number): void {
    const { producerId, producerEpoch: epoch, baseSequence } = header;
    if (producerId < 0) return;
    const known = this.#producers.get(producerId);
    const written = known?.epoch === epoch ? known.written : [];
    written.push({ baseSequence, lastSequence: lastSequenceOf(header), baseOffset });
    if (written.length > batchesRemembered) written.shift();
    // Deleted and set again, the map's first key is the longest silent producer.
    this.#producers.delete(producerId);
    this.#producers.set(producerId, { epoch, written });
    if (this.#producers.size > producersRemembered) {
      for (const oldest of this.#producers.keys()) {
        this.#producers.delete(oldest);
        break;
      }
    }
  }
}

function lastSequenceOf(header: BatchHeader): number {
  return (header.baseSequence + header.lastOffsetDelta) % sequences;
}

function isSame(written: Written, header: BatchHeader): boolean {
  return (
    written.baseSequence === header.baseSequence && written.lastSequence === lastSequenceOf(header)
  );
}
