import type { Framing, Reply, Request } from 'odradek';
import { expect } from 'vitest';
import type { Client } from './client.js';
import { startServer, type TestServer, type TestServerOptions } from './server.js';
import type { Placement } from './transports.js';
import { type Deferred, defer, Inbox, nextTurn, until } from './wait.js';

/** An echo server of one framing, a client, and the bodies that the handler saw. */
export async function startEcho(
  transport: Placement,
  framing: Framing,
  options: { frameReplies?: boolean } = {},
) {
  const bodies: Buffer[] = [];
  const testServer = await startServer(transport, {
    framing,
    ...options,
    handler: (request) => {
      bodies.push(request.body);
      return request.body;
    },
  });
  return { testServer, client: await testServer.connect(), bodies };
}

/** Sends bytes that break the framing, and sees their connection end for that reason. */
export async function expectRefused(
  transport: Placement,
  framing: Framing,
  broken: Buffer,
  code: string,
  message: RegExp = /./,
): Promise<void> {
  const echo = await startEcho(transport, framing, { frameReplies: false });
  echo.client.send(broken);
  await expectEnd(echo.testServer, echo.client, '');
  const reason = echo.testServer.closed.all[0];
  expect(reason).toMatchObject({ code, unanswered: 0 });
  expect(reason?.message).toMatch(message);
  expect(echo.bodies).toHaveLength(0);
}

/** The client reads `rest` and then EOF, and the server reports the end. */
export async function expectEnd(
  testServer: TestServer,
  client: Client,
  rest: string,
): Promise<void> {
  expect((await client.readToEnd()).toString()).toBe(rest);
  await testServer.closed.next();
}

/** Opens and closes another connection: what came before it has been seen, if it could be. */
export async function expectSeesAnotherEnd(testServer: TestServer): Promise<void> {
  const other = await testServer.connect();
  other.end();
  expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED' });
}

/** A server whose handler hands every request out, and answers them all when the test does. */
export async function startWithheld(transport: Placement) {
  const requests = new Inbox<Request>('a request');
  const answer = defer<Uint8Array>();
  const testServer = await startServer(transport, {
    handler: (request) => {
      requests.push(request);
      return answer.promise;
    },
  });
  return { testServer, server: testServer.server, requests, answer };
}

/** A call of a handler, which the test answers when it likes. */
export interface Call {
  readonly request: Request;
  readonly text: string;
  /** Answers by these, or by the request's own text. */
  answer(reply?: Reply): void;
  fail(error: unknown): void;
}

/**
 * A server with several requests of a connection in flight, and a client. The test answers each
 * call that `answerAtOnce` has no reply for.
 */
export async function startPipelined(
  transport: Placement,
  maxInFlightPerConnection: number,
  options: TestServerOptions<unknown> = {},
  answerAtOnce: (request: Request) => Reply | undefined = () => undefined,
) {
  const calls = new Inbox<Call>('a call of the handler');
  const testServer = await startServer(transport, {
    maxInFlightPerConnection,
    handler: (request) => {
      const atOnce = answerAtOnce(request);
      if (atOnce !== undefined) return atOnce;
      const reply = defer<Reply>();
      const text = request.body.toString();
      const answer = (bytes: Reply = Buffer.from(text)) => reply.resolve(bytes);
      calls.push({ request, text, answer, fail: reply.reject });
      return reply.promise;
    },
    ...options,
  });
  const call = (text: string): Call => {
    const found = calls.all.find((each) => each.text === text);
    if (found === undefined) throw new Error(`${text} was not started`);
    return found;
  };
  /** Waits until these were started, in this order, and no others. */
  const expectStarted = async (...texts: string[]): Promise<void> => {
    await until(() => calls.all.length >= texts.length, `the start of ${texts.at(-1)}`);
    // Whatever else was to start in these turns would have.
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(calls.all.map(({ text }) => text)).toEqual(texts);
  };
  return { testServer, client: await testServer.connect(), calls, call, expectStarted };
}

/** A server whose requests wait until the test lets them go one by one, by their text. */
export async function startParking(
  transport: Placement,
  options: { queuedMaxRequests: number; maxPendingRequests: number; networkThreads?: number },
) {
  const taken: string[] = [];
  const parked = new Map<string, Deferred<Buffer>>();
  const replyTo = (text: string): Deferred<Buffer> => {
    const reply = parked.get(text) ?? defer<Buffer>();
    parked.set(text, reply);
    return reply;
  };
  const testServer = await startServer(transport, {
    networkThreads: 1,
    ...options,
    handler: ({ body }) => {
      const text = body.toString();
      taken.push(text);
      return replyTo(text).promise;
    },
  });
  /** May come before this thread has heard that a thread of the pool has taken it. */
  const answer = (text: string): void => replyTo(text).resolve(Buffer.from(text));
  /** Pending requests, queued requests, waiting connections. */
  const metrics = (): [number, number, number] => {
    const { pendingRequests, requestQueueSize, connectionsWaitingForRoom } =
      testServer.server.metrics();
    return [pendingRequests, requestQueueSize, connectionsWaitingForRoom];
  };
  return { testServer, taken, answer, metrics };
}

export async function connectMany(testServer: TestServer, count: number): Promise<Client[]> {
  const clients: Client[] = [];
  for (let i = 0; i < count; i++) clients.push(await testServer.connect());
  return clients;
}
