import { protocolAPIsByName } from '@platformatic/kafka';
import { closeConnection, type Reply, type Request } from 'odradek';
import { type Answer, type BrokerContext, Call } from './api.js';
import { unsupportedApiVersions } from './api-versions.js';
import { apis } from './apis.js';
import { RequestReader } from './wire/request-reader.js';
import { ResponseWriter } from './wire/response-writer.js';

const { ApiVersions } = protocolAPIsByName;
const apisByKey = new Map(apis.map((api) => [api.key, api]));

/**
 * Reads a request's header, and lets the API that it names answer.
 *
 * @throws ProtocolError (or the promise rejects with it) where the request isn't Kafka's protocol
 */
export function dispatch(broker: BrokerContext, request: Request): Reply | Promise<Reply> {
  const input = new RequestReader(request.body);
  const key = input.int16();
  const version = input.int16();
  const correlationId = input.int32();
  const api = apisByKey.get(key);
  if (api === undefined) return closeConnection;
  const isApiVersions = key === ApiVersions;
  if (version < api.minVersion || version > api.maxVersion) {
    // Clients begin with the latest version that they know, and expect an answer that tells.
    if (!isApiVersions || version < 0) return closeConnection;
    return finish(unsupportedApiVersions(apis, correlationId));
  }
  // The client's id never has a compact length, so that old brokers can read this far.
  const clientId = input.nullableString(false) ?? '';
  input.flexible = version >= api.flexibleFrom;
  input.tags();
  const output = new ResponseWriter(input.flexible);
  output.int32(correlationId);
  // That of ApiVersions comes before the client knows about tagged fields.
  if (!isApiVersions) output.tags();
  const answer = api.handle(broker, new Call(request, version, clientId, input, output));
  return answer instanceof Promise ? answer.then(finish) : finish(answer);
}

function finish(answer: Answer): Reply {
  return answer instanceof ResponseWriter ? answer.finish() : answer;
}
