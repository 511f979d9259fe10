import { setMaxListeners } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { closeConnection, type Request, SocketServer } from 'odradek';
import type { BrokerContext } from './api.js';
import { BrokerFile } from './broker-file.js';
import { dispatch } from './dispatch.js';
import { Coordinator } from './groups/coordinator.js';
import { OffsetStore } from './groups/offset-store.js';
import { lockFolder } from './lock.js';
import { ProducerIds } from './producer-ids.js';
import { TopicStore } from './topic-store.js';
import { ProtocolError } from './wire/request-reader.js';

export interface BrokerOptions {
  /** Everything that outlasts a restart is in this folder. */
  readonly dataDir: string;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 9092; 0 lets the system choose, see {@link Broker.port}. */
  readonly port?: number;
  /** Where clients are told to connect: default `host`, or this machine's name for a wildcard. */
  readonly advertisedHost?: string;
  /** Of topics that are made on demand: Kafka's `num.partitions`, default 1. */
  readonly defaultPartitions?: number;
  /** Of all topics together, default 2000: each may hold file descriptors. */
  readonly maxPartitions?: number;
  /** Kafka's `message.max.bytes`, default 1048588. */
  readonly maxBatchBytes?: number;
  /** Kafka's `log.segment.bytes`, default 128 MiB. */
  readonly segmentBytes?: number;
  /** Odradek's transport, default `'auto'`. */
  readonly transport?: 'auto' | 'native' | 'js';
  /** Odradek's network threads, default Odradek's; 0 does without, on the JavaScript thread. */
  readonly networkThreads?: number;
  /** Takes a line about something that an operator should know; default: standard error. */
  readonly report?: (line: string) => void;
}

/** Offsets are small, and only the last of each counts: they are written anew more often. */
const offsetSegmentBytes = 4_194_304;
const closeTimeoutMs = 5000;

/** A Kafka broker on its own: one node, one replica of everything, no authorization. */
export class Broker {
  readonly #options: BrokerOptions;
  readonly #report: (line: string) => void;
  readonly #closing = new AbortController();
  #context: BrokerContext | null = null;
  #server: SocketServer | null = null;
  #offsets: OffsetStore | null = null;
  #topics: TopicStore | null = null;
  #unlock: (() => Promise<void>) | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.#report = options.report ?? ((line) => console.error(line));
    setMaxListeners(0, this.#closing.signal);
  }

  /** The port that clients connect to, while the broker runs. */
  get port(): number {
    if (this.#server === null) throw new Error('the broker has not been started');
    return this.#server.address().port;
  }

  /** The transport in use. */
  get transport(): 'native' | 'js' {
    if (this.#server === null) throw new Error('the broker has not been started');
    return this.#server.transport;
  }

  /** Requests that are being answered, those included that wait for records or for other members. */
  get requestsInFlight(): number {
    return this.#server?.metrics().requestsInFlight ?? 0;
  }

  /** Opens the data folder, checking all logs in it, then the port. A broker starts once. */
  async start(): Promise<void> {
    try {
      const file = await this.#openFolder();
      await this.#listen(file);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /**
   * Ends everything in order: fetches and joins that wait are answered, then all that was received,
   * then the logs are synced and the folder is free again.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #openFolder(): Promise<BrokerFile> {
    const { dataDir, segmentBytes = 134_217_728, maxPartitions = 2000 } = this.#options;
    const report = this.#report;
    await mkdir(dataDir, { recursive: true });
    this.#unlock = await lockFolder(dataDir);
    this.#topics = await TopicStore.open(join(dataDir, 'topics'), {
      ...{ segmentBytes, maxPartitions, report },
    });
    this.#offsets = await OffsetStore.open(join(dataDir, 'group-offsets'), {
      ...{ segmentBytes: offsetSegmentBytes, report },
    });
    return BrokerFile.open(dataDir);
  }

  async #listen(file: BrokerFile): Promise<void> {
    const { host = '127.0.0.1', port = 9092, transport = 'auto', networkThreads } = this.#options;
    const server = new SocketServer({
      listeners: [{ name: 'PLAINTEXT', host, port }],
      transport,
      ...(networkThreads !== undefined && { networkThreads }),
      handler: (request) => dispatch(this.#running(), request),
      onHandlerError: (error, request) => this.#failed(error, request),
    });
    server.on('acceptError', (error) => this.#report(`a connection was not accepted: ${error}`));
    server.on('fatal', (error) => this.#report(`the network layer is lost: ${error}`));
    this.#server = server;
    await server.start();
    this.#context = this.#makeContext(file, host, server.address().port);
  }

  #makeContext(file: BrokerFile, host: string, port: number): BrokerContext {
    const { advertisedHost, defaultPartitions = 1, maxBatchBytes = 1_048_588 } = this.#options;
    const isWildcard = host === '0.0.0.0' || host === '::';
    if (this.#topics === null || this.#offsets === null) throw new Error('no folder is open');
    return {
      clusterId: file.clusterId,
      host: advertisedHost ?? (isWildcard ? hostname() : host),
      port,
      topics: this.#topics,
      coordinator: new Coordinator(this.#offsets),
      producerIds: new ProducerIds(file.nextProducerId, (id) => file.setNextProducerId(id)),
      defaultPartitions,
      maxBatchBytes,
      closing: this.#closing.signal,
      report: this.#report,
    };
  }

  #running(): BrokerContext {
    if (this.#context === null) throw new Error('a request came before the broker was ready');
    return this.#context;
  }

  /** A request that can't be answered costs its connection, and nobody else anything. */
  #failed(error: unknown, request: Request): typeof closeConnection {
    const { id } = request.connection;
    if (error instanceof ProtocolError) this.#report(`closing ${id}: ${error.message}`);
    else this.#report(`closing ${id}: ${error instanceof Error ? error.stack : error}`);
    return closeConnection;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    this.#context?.coordinator.end();
    await this.#server?.close({ timeoutMs: closeTimeoutMs });
    await this.#topics?.close();
    await this.#offsets?.close();
    await this.#unlock?.();
  }
}

/** A broker that is yet to be started. */
export function createBroker(options: BrokerOptions): Broker {
  return new Broker(options);
}
