import {
  type CloseReason,
  type Connection,
  type HandlerThreadLoss,
  type Metrics,
  type Request,
  SocketServer,
  type SocketServerOptions,
} from 'odradek';
import { expect, onTestFinished, vi } from 'vitest';
import { Client, type ClientOptions } from './client.js';
import { Closures, originalOf } from './closures.js';
import { isPooled, type Placement, placed } from './transports.js';
import { Inbox, patienceMs } from './wait.js';

export interface HandlerError {
  readonly error: unknown;
  readonly request: Request | null;
}

/** A running server, what it told, and clients for it. Everything ends with the test. */
export class TestServer<State = unknown> {
  readonly server: SocketServer<State>;
  readonly opened = new Inbox<Connection<State>>('connectionOpened');
  readonly closed = new Inbox<CloseReason>('connectionClosed');
  readonly errors = new Inbox<HandlerError>('handlerError');
  readonly losses = new Inbox<HandlerThreadLoss>('handlerThreadLost');
  readonly #listeners: readonly string[];
  readonly clients: Client[] = [];

  constructor(server: SocketServer<State>, listeners: readonly string[]) {
    this.server = server;
    this.#listeners = listeners;
    server.on('connectionOpened', this.opened.push);
    server.on('connectionClosed', (_connection, reason) => this.closed.push(reason));
    server.on('handlerThreadLost', this.losses.push);
    server.on('handlerError', (error, request) =>
      this.errors.push({ error: originalOf(error), request: request as Request | null }),
    );
  }

  /** The port of a listener, by default of the first. */
  port(listener = this.#listeners[0]): number {
    return this.server.address(listener).port;
  }

  async connect(options: ClientOptions & { listener?: string } = {}): Promise<Client> {
    const client = await Client.connect(this.port(options.listener), options);
    this.clients.push(client);
    return client;
  }

  /** Connects, and waits for the server's side: `[client, connection]`. */
  async connectBoth(options: ClientOptions = {}): Promise<[Client, Connection<State>]> {
    const client = await this.connect(options);
    return [client, await this.opened.next()];
  }

  async stop(): Promise<void> {
    for (const client of this.clients) client.socket.destroy();
    await this.server.close({ timeoutMs: 0 });
    expectNothingLeft(this.server);
  }
}

/** Whatever happened before, a closed server holds nothing. */
export function expectNothingLeft<State>(server: SocketServer<State>): void {
  const metrics = server.metrics();
  expect({
    connections: metrics.connections,
    requestQueueSize: metrics.requestQueueSize,
    pendingRequests: metrics.pendingRequests,
    connectionsWaitingForRoom: metrics.connectionsWaitingForRoom,
    connectionsWaitingForMemory: metrics.connectionsWaitingForMemory,
    memoryPoolUsed: metrics.memoryPoolUsed,
    unsentBytes: metrics.unsentBytes,
    connectionsThrottled: metrics.connectionsThrottled,
    processors: metrics.processors.map((processor) => processor.connections).filter(Boolean),
    listeners: metrics.listeners.filter((each) => each.connections + each.throttledSockets > 0),
  }).toEqual({
    connections: 0,
    requestQueueSize: 0,
    pendingRequests: 0,
    connectionsWaitingForRoom: 0,
    connectionsWaitingForMemory: 0,
    memoryPoolUsed: 0,
    unsentBytes: 0,
    connectionsThrottled: 0,
    processors: [],
    listeners: [],
  });
  expect(metrics.connectionsClosedTotal).toBe(metrics.connectionsAcceptedTotal);
}

/** Waits until the counters say so: those of other threads may come a little after their deeds. */
export async function expectMetrics<State>(
  server: SocketServer<State>,
  expected: Partial<Metrics>,
): Promise<void> {
  await vi.waitFor(() => expect(server.metrics()).toMatchObject(expected), {
    timeout: patienceMs,
    interval: 1,
  });
}

export type TestServerOptions<State> = Partial<SocketServerOptions<State>>;

/** Makes a server on a free port of 127.0.0.1 that echoes, unless told otherwise. */
export function makeServer<State = unknown>(
  transport: Placement,
  options: TestServerOptions<State> = {},
): TestServer<State> {
  const listeners = options.listeners ?? [{ port: 0 }];
  const hasPool = options.handlerPool !== undefined;
  const own: TestServerOptions<State> = {
    ...(hasPool ? {} : { handler: (request: Request<State>) => request.body }),
    networkThreads: 2,
    ...options,
    listeners,
  };
  const server = new SocketServer<State>({
    ...(isPooled(transport) && !hasPool ? new Closures(own).options : own),
    ...placed(transport),
  } as SocketServerOptions<State>);
  const names = listeners.map((listener) => listener.name ?? 'PLAINTEXT');
  const testServer = new TestServer(server, names);
  onTestFinished(() => testServer.stop());
  return testServer;
}

export async function startServer<State = unknown>(
  transport: Placement,
  options: TestServerOptions<State> = {},
): Promise<TestServer<State>> {
  const testServer = makeServer(transport, options);
  await testServer.server.start();
  return testServer;
}
