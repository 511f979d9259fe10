import { protocolAPIsByName } from '@platformatic/kafka';
import type { Answer, Api } from './api.js';
import { errorCodes } from './errors.js';
import { ResponseWriter } from './wire/response-writer.js';

const { ApiVersions, Produce } = protocolAPIsByName;

/**
 * librdkafka sends compressed batches only to a broker that says it speaks version 0 of Produce,
 * even though it doesn't use it. So this one says so, as Kafka 4 does, and doesn't speak it.
 */
function advertisedFrom(api: Api): number {
  return api.key === Produce ? 0 : api.minVersion;
}

/** ApiVersions: what this broker speaks. */
export function apiVersions(apis: readonly Api[], version: number, output: ResponseWriter): Answer {
  output.int16(errorCodes.NONE);
  writeApis(apis, output);
  if (version >= 1) output.int32(0); // throttle time
  return output.tags();
}

/**
 * The answer to an ApiVersions request of a later version than this broker knows: in version 0,
 * which every client can read, and naming the versions to try instead.
 */
export function unsupportedApiVersions(apis: readonly Api[], correlationId: number): Answer {
  const output = new ResponseWriter(false);
  output.int32(correlationId).int16(errorCodes.UNSUPPORTED_VERSION);
  return writeApis(
    apis.filter(({ key }) => key === ApiVersions),
    output,
  );
}

function writeApis(apis: readonly Api[], output: ResponseWriter): ResponseWriter {
  return output.array(apis, (api) =>
    output.int16(api.key).int16(advertisedFrom(api)).int16(api.maxVersion),
  );
}
