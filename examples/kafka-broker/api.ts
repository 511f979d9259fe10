import type { closeConnection, noReply, Request } from 'odradek';
import type { Coordinator } from './groups/coordinator.js';
import type { ProducerIds } from './producer-ids.js';
import type { TopicStore } from './topic-store.js';
import type { RequestReader } from './wire/request-reader.js';
import type { ResponseWriter } from './wire/response-writer.js';

/** What all APIs work on. */
export interface BrokerContext {
  readonly clusterId: string;
  /** Where clients are told to connect. */
  readonly host: string;
  readonly port: number;
  readonly topics: TopicStore;
  readonly coordinator: Coordinator;
  readonly producerIds: ProducerIds;
  /** Partitions of a topic that is made without saying how many. */
  readonly defaultPartitions: number;
  readonly maxBatchBytes: number;
  /** Aborts when the broker closes: whatever waits, ends. */
  readonly closing: AbortSignal;
  readonly report: (line: string) => void;
}

/** One request: what came, and where its response goes. */
export class Call {
  readonly version: number;
  readonly clientId: string;
  readonly input: RequestReader;
  readonly output: ResponseWriter;
  readonly #request: Request;

  constructor(
    request: Request,
    version: number,
    clientId: string,
    input: RequestReader,
    output: ResponseWriter,
  ) {
    this.#request = request;
    this.version = version;
    this.clientId = clientId;
    this.input = input;
    this.output = output;
  }

  /** As Kafka writes it. */
  get clientHost(): string {
    return `/${this.#request.connection.remoteAddress}`;
  }

  /** Aborts when the client is gone. Made when asked for, so ask only where something waits. */
  get signal(): AbortSignal {
    return this.#request.signal;
  }
}

export type Answer = ResponseWriter | typeof noReply | typeof closeConnection;

export type ApiHandler = (broker: BrokerContext, call: Call) => Answer | Promise<Answer>;

/** One entry of the protocol. */
export interface Api {
  readonly key: number;
  readonly minVersion: number;
  readonly maxVersion: number;
  /** The first version in the flexible encoding. */
  readonly flexibleFrom: number;
  readonly handle: ApiHandler;
}

/** The id of the only broker. Not 0, which some clients take for none. */
export const nodeId = 1;
