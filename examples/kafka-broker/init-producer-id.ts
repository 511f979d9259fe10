import type { Answer, BrokerContext, Call } from './api.js';
import { type ErrorName, errorCodes } from './errors.js';

/** InitProducerId: an id for an idempotent producer. There are no transactions. */
export async function initProducerId(broker: BrokerContext, call: Call): Promise<Answer> {
  const { input, output } = call;
  const transactionalId = input.nullableString();
  input.int32(); // the transaction's time-out
  const error: ErrorName = transactionalId === null ? 'NONE' : 'INVALID_REQUEST';
  const producerId = error === 'NONE' ? await broker.producerIds.next() : -1;
  return output
    .int32(0) // throttle time
    .int16(errorCodes[error])
    .int64(producerId)
    .int16(error === 'NONE' ? 0 : -1)
    .tags();
}
