import { type Answer, type BrokerContext, type Call, nodeId } from '../api.js';
import { type ErrorName, errorCodes } from '../errors.js';

const groupKey = 0;

/** FindCoordinator: this broker coordinates all groups. There are no transactions. */
export function findCoordinator(broker: BrokerContext, call: Call): Answer {
  const { version, input, output } = call;
  if (version >= 4) {
    const error = errorFor(input.int8());
    const keys = input.list(() => input.string());
    return output
      .int32(0) // throttle time
      .array(keys, (key) => {
        output.string(key);
        writeCoordinator(broker, call, error);
        output.int16(errorCodes[error]).string(error === 'NONE' ? null : error);
      })
      .tags();
  }
  input.string();
  const error = errorFor(version >= 1 ? input.int8() : groupKey);
  if (version >= 1) output.int32(0); // throttle time
  output.int16(errorCodes[error]);
  if (version >= 1) output.string(error === 'NONE' ? null : error);
  writeCoordinator(broker, call, error);
  return output.tags();
}

function errorFor(keyType: number): ErrorName {
  return keyType === groupKey ? 'NONE' : 'INVALID_REQUEST';
}

function writeCoordinator({ host, port }: BrokerContext, { output }: Call, error: ErrorName): void {
  if (error === 'NONE') output.int32(nodeId).string(host).int32(port);
  else output.int32(-1).string('').int32(-1);
}
