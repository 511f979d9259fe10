import { createRequire } from 'node:module';
import { Reader } from '@platformatic/kafka';
import { onTestFinished } from 'vitest';
import { Client } from '../support/client.js';

// The encoders and decoders of the classic versions are inside of kafkajs.
const require = createRequire(import.meta.url);
const encodeRequest = require('kafkajs/src/protocol/request');
const { requests } = require('kafkajs/src/protocol/requests');

/** An API of @platformatic/kafka at one version, of the flexible ones. */
interface FlexibleApi {
  async(connection: never, ...args: never[]): Promise<unknown>;
}

type Callback = (error: Error | null, response?: unknown) => void;

/**
 * A connection on which single requests are sent, encoded by a client library: for the versions
 * and the mistakes that the library's own client wouldn't use.
 */
export class ProtocolClient {
  readonly client: Client;
  #correlationId = 0;

  constructor(client: Client) {
    this.client = client;
  }

  static async connect(port: number): Promise<ProtocolClient> {
    const client = await Client.connect(port);
    onTestFinished(() => {
      client.socket.destroy();
    });
    return new ProtocolClient(client);
  }

  /** Sends a request in a classic version, and gives what kafkajs makes of the response. */
  // biome-ignore lint/suspicious/noExplicitAny: each API has another response
  async classic(api: string, version: number, payload: object = {}): Promise<any> {
    const { request, response } = requests[api].protocol({ version })(payload);
    const correlationId = ++this.#correlationId;
    const { buffer } = await encodeRequest({ correlationId, clientId: 'test', request });
    this.client.send(buffer);
    return response.decode(await this.#response(correlationId));
  }

  /** Sends a request in a flexible version, and gives what @platformatic/kafka reads of it. */
  // biome-ignore lint/suspicious/noExplicitAny: each API has another response
  flexible(api: { api: FlexibleApi }, ...args: unknown[]): Promise<any> {
    return api.api.async(this as never, ...(args as never[]));
  }

  /** What {@link flexible} calls: the part of the library's connection that its APIs use. */
  send(
    apiKey: number,
    version: number,
    payload: () => { buffer: Buffer },
    parse: (correlationId: number, apiKey: number, version: number, reader: Reader) => unknown,
    hasRequestTags: boolean,
    hasResponseTags: boolean,
    callback: Callback,
  ): void {
    const correlationId = ++this.#correlationId;
    const tags = Buffer.alloc(hasRequestTags ? 1 : 0);
    this.sendBody(apiKey, version, correlationId, Buffer.concat([tags, payload().buffer]));
    this.#response(correlationId)
      .then((body) => {
        const reader = Reader.from(body);
        if (hasResponseTags) reader.readTaggedFields();
        const parsed = parse(correlationId, apiKey, version, reader);
        // What is left are the tagged fields that end the response; parsers don't read them.
        if (reader.remaining > 1) throw new Error(`${reader.remaining} bytes too many`);
        return parsed;
      })
      .then((response) => callback(null, response), callback);
  }

  /** Sends any bytes behind a request header. */
  sendBody(apiKey: number, version: number, correlationId: number, body: Buffer): void {
    const clientId = 'test';
    const header = Buffer.alloc(14 + clientId.length);
    header.writeInt32BE(header.length - 4 + body.length, 0);
    header.writeInt16BE(apiKey, 4);
    header.writeInt16BE(version, 6);
    header.writeInt32BE(correlationId, 8);
    header.writeInt16BE(clientId.length, 12);
    header.write(clientId, 14);
    this.client.send(header, body);
  }

  async #response(correlationId: number): Promise<Buffer> {
    const frame = await this.client.readFrame();
    const received = frame.readInt32BE(0);
    if (received !== correlationId) throw new Error(`answer to ${received}, not ${correlationId}`);
    return frame.subarray(4);
  }
}
