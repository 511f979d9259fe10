import {
  custom,
  delimited,
  errorCodes,
  isNativeAvailable,
  type ListenerOptions,
  lengthPrefixed,
  nativeUnavailabilityCause,
  OdradekError,
  raw,
  SocketServer,
  type SocketServerOptions,
  varintPrefixed,
} from 'odradek';
import { describe, expect, it } from 'vitest';
import { defaultNetworkThreads } from '../src/options.js';
import { bytes, frame } from './support/bytes.js';
import { Client } from './support/client.js';
import { makeServer, startServer } from './support/server.js';
import { transports } from './support/transports.js';

const handler: SocketServerOptions['handler'] = ({ body }) => body;
const bare = { listeners: [{ port: 0 }], transport: 'js' };
const good = { listeners: [{ port: 0 }], handler };

/** The error that a call throws, which must be a coded one. */
function thrown(call: () => unknown): OdradekError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(OdradekError);
    return error as OdradekError;
  }
  throw new Error('nothing was thrown');
}

describe('options', () => {
  const listener = (options: object) => ({ ...good, listeners: [{ port: 0, ...options }] });
  const pool = (options: object) => ({
    ...bare,
    handlerPool: { module: new URL('file:///handler.js'), ...options },
  });

  it.each<[string, object, RegExp]>([
    ['an unknown option', { ...good, threads: 3 }, /no option "threads"; it has listeners, /],
    ['a misspelt option', { ...good, queuedMaxRequest: 5 }, /no option "queuedMaxRequest"/],
    ['no listeners', { handler }, /listeners must be an array of 1 to 65535.*undefined/],
    ['an empty list of listeners', { handler, listeners: [] }, /listeners must be an array/],
    ['one listener without a list', { handler, listeners: { port: 0 } }, /listeners must be/],
    ['a listener that is none', { handler, listeners: [9092] }, /listeners\[0\].*object.*9092/],
    ['a null listener', { handler, listeners: [null] }, /listeners\[0\].*object.*null/],
    ['no port', { handler, listeners: [{}] }, /listeners\[0\]\.port.*0 to 65535.*undefined/],
    ['a port above 65535', listener({ port: 65_536 }), /port.*0 to 65535, got 65536/],
    ['a negative port', listener({ port: -1 }), /port.*got -1/],
    ['a fraction for a port', listener({ port: 1.5 }), /port.*got 1.5/],
    ['a port in a string', listener({ port: '9092' }), /port.*got "9092"/],
    ['an empty host', listener({ host: '' }), /host must be .*got ""/],
    ['a host with a port', listener({ host: 'localhost:9092' }), /host.*got "localhost:9092"/],
    ['a host that is no string', listener({ host: 127 }), /host.*got 127/],
    ['an empty name', listener({ name: '' }), /name must be a non-empty string/],
    ['a backlog of 0', listener({ backlog: 0 }), /backlog.*1 to 65535, got 0/],
    ['an unknown listener option', listener({ prot: 1 }), /listeners\[0\] has no option "prot"/],
    ['a listener handler that is none', listener({ handler: 'x' }), /handler must be a function/],
    ['a framing that is none', { ...good, framing: 'lines' }, /framing must be made by length/],
    ['a framing made by hand', { ...good, framing: { kind: 'raw' } }, /framing must be made by/],
    ['a framing that is a maker', listener({ framing: raw }), /framing must be made by/],
    ['frameReplies of another type', { ...good, frameReplies: 1 }, /frameReplies.*boolean, got 1/],
    [
      'replies framed by a length at an offset',
      { ...good, framing: lengthPrefixed({ offset: 2 }) },
      /offset.*frameReplies: false/,
    ],
    ['no handler', { listeners: [{ port: 0 }] }, /handler must be a function.*listeners\[0\]/],
    ['a handler that is none', { ...good, handler: 7 }, /handler must be a function, got 7/],
    ['onConnect that is none', { ...good, onConnect: true }, /onConnect must be a function/],
    ['onDisconnect that is none', { ...good, onDisconnect: {} }, /onDisconnect must be a func/],
    ['onHandlerError that is none', { ...good, onHandlerError: 'x' }, /onHandlerError must be/],
    [
      'fewer than no network thread',
      { ...good, networkThreads: -1 },
      /networkThreads.*0 to 64, got -1/,
    ],
    ['a negative busyPollUs', { ...good, busyPollUs: -1 }, /busyPollUs.*0 to 10000, got -1/],
    ['too long a busyPollUs', { ...good, busyPollUs: 20_000 }, /busyPollUs.*got 20000/],
    ['too many network threads', { ...good, networkThreads: 65 }, /networkThreads.*got 65/],
    ['no queue', { ...good, queuedMaxRequests: 0 }, /queuedMaxRequests.*1 to 1000000, got 0/],
    ['an endless queue', { ...good, queuedMaxRequests: Infinity }, /queuedMaxRequests.*Infinity/],
    ['no pending request', { ...good, maxPendingRequests: 0 }, /maxPendingRequests.*got 0/],
    ['nothing in flight', { ...good, maxInFlightPerConnection: 0 }, /InFlight.*1 to 1024, got 0/],
    ['too many in flight', { ...good, maxInFlightPerConnection: 1025 }, /InFlight.*got 1025/],
    ['half a request in flight', { ...good, maxInFlightPerConnection: 1.5 }, /InFlight.*got 1.5/],
    [
      'no memory',
      { ...good, queuedMaxRequestBytes: 0 },
      /queuedMaxRequestBytes.*1 to 1099511627776.*got 0/,
    ],
    ['no step', { ...good, overload: 5 }, /options of overload must be an object, got 5/],
    ['an unknown step', { ...good, overload: { later: 1 } }, /overload has no option "later"/],
    [
      'a step at once',
      { ...good, overload: { shortenTimeoutsMs: 0 } },
      /overload.shortenTimeoutsMs.*1 to 2147483647, or Infinity, got 0/,
    ],
    [
      'steps that descend',
      { ...good, overload: { refuseRequestsMs: 9999 } },
      /overload.refuseRequestsMs must be at least 10000, as the step before it has, got 9999/,
    ],
    ['onOverload that is none', { ...good, onOverload: 'busy' }, /onOverload must be a function/],
    ['no unsent byte', { ...good, maxUnsentBytes: 0 }, /maxUnsentBytes.*1 to 1099.*Inf.*got 0/],
    [
      'half a byte of a connection',
      { ...good, maxUnsentBytesPerConnection: 0.5 },
      /maxUnsentBytesPerConnection.*1 to 1099511627776, or Infinity, got 0.5/,
    ],
    ['no connection', { ...good, maxConnections: 0 }, /maxConnections.*1 to 2147483647.*got 0/],
    ['half a connection', { ...good, maxConnectionsPerIp: 0.5 }, /PerIp.*integer.*got 0.5/],
    ['a rate of 0', { ...good, maxConnectionCreationRate: 0 }, /CreationRate.*1 to.*Inf.*got 0/],
    [
      'a negative rate',
      { ...good, maxConnectionCreationRatePerIp: -1 },
      /maxConnectionCreationRatePerIp.*got -1/,
    ],
    [
      'no connection of a listener',
      listener({ maxConnections: 0 }),
      /maxConnections of list.*got 0/,
    ],
    [
      'a rate of a listener that is none',
      listener({ maxConnectionCreationRate: '5' }),
      /maxConnectionCreationRate of listener "PLAINTEXT".*got "5"/,
    ],
    [
      'overrides that are a list',
      { ...good, maxConnectionsPerIpOverrides: [] },
      /maxConnectionsPerIpOverrides must be an object/,
    ],
    [
      'an override for no address',
      { ...good, maxConnectionsPerIpOverrides: { localhost: 3 } },
      /a name in maxConnectionsPerIpOverrides.*got "localhost"/,
    ],
    [
      'an override that is no number',
      { ...good, maxConnectionsPerIpOverrides: { '10.0.0.0/8': -3 } },
      /maxConnectionsPerIpOverrides\[10.0.0.0\/8\].*got -3/,
    ],
    [
      'a protected listener that is none',
      { ...good, protectedListener: 'ADMIN' },
      /protectedListener.*"PLAINTEXT".*got "ADMIN"/,
    ],
    ['isolateBodies of another type', { ...good, isolateBodies: 'no' }, /isolateBodies.*"no"/],
    ['borrowBodies of another type', { ...good, borrowBodies: 1 }, /borrowBodies.*boolean, got 1/],
    [
      'bodies that are lent and given away',
      { ...good, isolateBodies: true, borrowBodies: true },
      /borrowBodies.*isolateBodies/,
    ],
    ['an unknown transport', { ...good, transport: 'tcp' }, /transport.*'js', got "tcp"/],
    [
      'two listeners of one name',
      {
        handler,
        listeners: [
          { name: 'A', port: 0 },
          { name: 'A', port: 0 },
        ],
      },
      /two listeners have the name "A"/,
    ],
    [
      'two listeners of the default name',
      { handler, listeners: [{ port: 0 }, { port: 0 }] },
      /two listeners have the name "PLAINTEXT"/,
    ],
    ['no pool at all', { ...bare, handlerPool: null }, /options of handlerPool must be an object/],
    ['an unknown option of a pool', pool({ size: 3 }), /handlerPool has no option "size"/],
    ['a pool without a module', { ...bare, handlerPool: {} }, /handlerPool\.module.*undefined/],
    ['a relative path', pool({ module: './handler.js' }), /file: URL or an absolute path.*"\./],
    ['a module by its name', pool({ module: 'handlers' }), /module.*got "handlers"/],
    ['a module from elsewhere', pool({ module: new URL('https://a.b/c.js') }), /of URL$/],
    ['no thread', pool({ threads: 0 }), /handlerPool\.threads.*1 to 256, got 0/],
    ['too many threads', pool({ threads: 257 }), /handlerPool\.threads.*got 257/],
    ['an unknown affinity', pool({ affinity: 'ip' }), /affinity.*'any' or 'connection', got "ip"/],
    ['no concurrency', pool({ concurrency: 0 }), /concurrency.*1 to 65536, got 0/],
    ['data that can not be copied', pool({ data: { f() {} } }), /data.*structuredClone.*object/],
    ['an unknown limit', pool({ resourceLimits: { heap: 1 } }), /resourceLimits.*"heap"/],
    ['a limit of 0', pool({ resourceLimits: { stackSizeMb: 0 } }), /stackSizeMb.*above 0, got 0/],
    [
      'a handler beside a pool',
      { ...pool({}), handler },
      /handler must be left out where there is a handlerPool, got function/,
    ],
    [
      'onOverload beside a pool',
      { ...pool({}), onOverload: handler },
      /onOverload must be left out where there is a handlerPool: its module exports it, got function/,
    ],
    [
      "a listener's handler beside a pool",
      { ...pool({}), listeners: [{ port: 0, handler }] },
      /listeners\[0\]\.handler must be left out/,
    ],
    [
      'custom() framing with a pool',
      { ...pool({}), framing: custom(() => null) },
      /listeners\[0\]: custom\(\) framing is a function/,
    ],
    ['a negative handlerTimeoutMs', { ...good, handlerTimeoutMs: -1 }, /handlerTimeoutMs.*got -1/],
    [
      'too long a handlerTimeoutMs',
      { ...good, handlerTimeoutMs: 2 ** 31 },
      /handlerTimeoutMs.*0 to 2147483647, got 2147483648/,
    ],
  ])('refuse %s', (_name, options, message) => {
    const error = thrown(() => new SocketServer(options as SocketServerOptions));
    expect(error.code).toBe('ERR_ODRADEK_INVALID_OPTION');
    expect(error.message).toMatch(message);
  });

  it.each<[string, () => unknown, RegExp]>([
    ['sizeBytes 5', () => lengthPrefixed({ sizeBytes: 5 as 4 }), /sizeBytes.*1, 2, 3, 4 or 8.*5/],
    ['endianness', () => lengthPrefixed({ endianness: 'BE' as 'big' }), /endianness.*"BE"/],
    ['offset -1', () => lengthPrefixed({ offset: -1 }), /offset of lengthPrefixed\(\).*-1/],
    ['adjustment', () => lengthPrefixed({ adjustment: 0.5 }), /adjustment.*0.5/],
    ['strip -1', () => lengthPrefixed({ strip: -1 }), /strip.*-1/],
    ['maxFrameBytes 0', () => lengthPrefixed({ maxFrameBytes: 0 }), /maxFrameBytes.*got 0/],
    ['maxFrameBytes 2^31', () => lengthPrefixed({ maxFrameBytes: 2 ** 31 }), /2147483647/],
    ['an unknown one', () => lengthPrefixed({ size: 4 } as object), /no option "size"/],
    ['varint maximum', () => varintPrefixed({ maxFrameBytes: -5 }), /varintPrefixed.*-5/],
    ['an empty delimiter', () => delimited(''), /delimiter.*1 to 16 bytes/],
    ['a long delimiter', () => delimited('x'.repeat(17)), /delimiter.*1 to 16 bytes/],
    ['a number as delimiter', () => delimited(10 as unknown as string), /delimiter.*got 10/],
    ['strip of lines', () => delimited('\n', { strip: 1 as unknown as boolean }), /strip.*boolean/],
    ['raw maximum', () => raw({ maxFrameBytes: 65_537 }), /maxFrameBytes.*65536, got 65537/],
    ['no split', () => custom(undefined as never), /split of custom\(\).*undefined/],
  ])('of framings are checked: %s', (_name, make, message) => {
    const error = thrown(make);
    expect(error.code).toBe('ERR_ODRADEK_INVALID_OPTION');
    expect(error.message).toMatch(message);
  });

  it.each<[string, object]>([
    ['a URL', { module: new URL('file:///a/handler.js') }],
    ['the text of one', { module: 'file:///a/handler.js' }],
    ['a path', { module: '/a/handler.js' }],
  ])('take the module of a pool by %s', (_name, options) => {
    const server = new SocketServer(pool(options) as SocketServerOptions);
    expect(server.metrics().handlerThreads).toEqual([]);
  });

  it('refuse custom() framing later, too, where a pool handles the requests', async () => {
    const testServer = await startServer('js', {
      handlerPool: { module: new URL('handlers/echo.mjs', import.meta.url), threads: 1 },
      onConnect: (connection) => connection.setFraming(custom(() => null)),
    });
    const client = await testServer.connect();
    await client.readToEnd();
    const { error } = await testServer.errors.next();
    expect(error).toMatchObject({ code: 'ERR_ODRADEK_INVALID_ARGUMENT' });
    expect(await testServer.closed.next()).toMatchObject({ code: 'REFUSED' });
  });

  it('are told apart by code and text', () => {
    const error = thrown(() => new SocketServer({} as SocketServerOptions));
    expect(error).toMatchObject({ name: 'OdradekError', code: 'ERR_ODRADEK_INVALID_OPTION' });
    expect(error.message.startsWith(errorCodes.ERR_ODRADEK_INVALID_OPTION)).toBe(true);
  });

  it('say which transport is there', () => {
    const best = isNativeAvailable() ? 'native' : 'js';
    expect(new SocketServer(good).transport).toBe(best);
    expect(new SocketServer({ ...good, transport: 'auto' }).transport).toBe(best);
    expect(new SocketServer({ ...good, transport: 'js' }).transport).toBe('js');
    if (isNativeAvailable()) {
      expect(nativeUnavailabilityCause()).toBeNull();
      expect(new SocketServer({ ...good, transport: 'native' }).transport).toBe('native');
    } else {
      const error = thrown(() => new SocketServer({ ...good, transport: 'native' }));
      expect(error.code).toBe('ERR_ODRADEK_NATIVE_UNAVAILABLE');
      expect(error.cause).toBe(nativeUnavailabilityCause());
      expect(nativeUnavailabilityCause()?.message).toMatch(/npm run build/);
    }
  });
});

describe.each(transports)('listeners (%s)', (transport) => {
  it('serve each with its own framing and handler', async () => {
    const testServer = await startServer(transport, {
      listeners: [
        { name: 'KAFKA', port: 0 },
        {
          name: 'LINES',
          port: 0,
          framing: delimited('\n'),
          handler: ({ body, connection }) => Buffer.from(`${connection.listener} ${body}`),
        },
        { name: 'BARE', port: 0, frameReplies: false },
      ],
      handler: ({ body, connection }) => Buffer.from(`${connection.listener}: ${body}`),
    });
    const kafka = await testServer.connect({ listener: 'KAFKA' });
    const lines = await testServer.connect({ listener: 'LINES' });
    const bare = await testServer.connect({ listener: 'BARE' });
    kafka.send(frame('a'));
    lines.send(Buffer.from('b\n'));
    bare.send(frame('c'));
    expect(await kafka.readText()).toBe('KAFKA: a');
    expect((await lines.read(8)).toString()).toBe('LINES b\n');
    expect((await bare.read(7)).toString()).toBe('BARE: c');
    const ports = ['KAFKA', 'LINES', 'BARE'].map((name) => testServer.port(name));
    expect(new Set(ports).size).toBe(3);
  });

  it('tell where they are bound while the server runs', async () => {
    const testServer = makeServer(transport, {
      listeners: [
        { name: 'A', port: 0 },
        { name: 'B', port: 0, host: 'localhost' },
      ],
    });
    const { server } = testServer;
    expect(thrown(() => server.address('A')).code).toBe('ERR_ODRADEK_INVALID_STATE');
    await server.start();
    expect(server.address('A')).toEqual({ host: '127.0.0.1', port: expect.any(Number) });
    expect(['127.0.0.1', '::1']).toContain(server.address('B').host);
    expect(server.address('A').port).toBeGreaterThan(0);
    for (const name of [undefined, 'C']) {
      const error = thrown(() => server.address(name));
      expect(error.code).toBe('ERR_ODRADEK_INVALID_ARGUMENT');
      expect(error.message).toMatch(/one of A, B, got/);
    }
    await server.close();
    expect(thrown(() => server.address('A')).code).toBe('ERR_ODRADEK_INVALID_STATE');
  });

  it('serve IPv6 where the machine has it', async () => {
    const testServer = makeServer(transport, { listeners: [{ port: 0, host: '::1' }] });
    try {
      await testServer.server.start();
    } catch (error) {
      // A machine without IPv6 says so, and that is what is seen then.
      expect(error).toMatchObject({ code: 'ERR_ODRADEK_LISTEN' });
      expect((error as Error).cause).toMatchObject({
        code: expect.stringMatching(/^(EADDRNOTAVAIL|EAFNOSUPPORT)$/),
      });
      return;
    }
    expect(testServer.server.address()).toMatchObject({ host: '::1' });
    const client = await Client.connect(testServer.port(), { host: '::1' });
    client.send(frame('hello'));
    expect(await client.readText()).toBe('hello');
    const connection = await testServer.opened.next();
    expect(connection.remoteAddress).toBe('::1');
    client.end();
    await testServer.closed.next();
  });

  it('on a port in use are a coded error, and everything opened is closed again', async () => {
    const first = await startServer(transport);
    const { port } = first.server.address();
    const free = await freePort();
    const { server } = makeServer(transport, {
      listeners: [
        { name: 'FREE', port: free },
        { name: 'TAKEN', port },
      ],
    });
    const error = await failure(server.start());
    expect(error.code).toBe('ERR_ODRADEK_LISTEN');
    expect(error.message).toMatch(/TAKEN/);
    expect(error.message).toContain(`127.0.0.1:${port}`);
    expect(error.cause).toMatchObject({ code: 'EADDRINUSE' });
    await expect(Client.connect(free)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    // It can't be started again, and the one that has the port is unharmed.
    expect((await failure(server.start())).code).toBe('ERR_ODRADEK_INVALID_STATE');
    const client = await first.connect();
    client.send(frame('hello'));
    expect(await client.readText()).toBe('hello');
  });

  it('on a host that does not exist are a coded error', async () => {
    const free = await freePort();
    const { server } = makeServer(transport, {
      listeners: [
        { name: 'FREE', port: free },
        { name: 'NOWHERE', port: 0, host: 'no-such-host.invalid' },
      ],
    });
    const error = await failure(server.start());
    expect(error.code).toBe('ERR_ODRADEK_HOST');
    expect(error.message).toMatch(/no-such-host\.invalid/);
    expect(error.cause).toMatchObject({ syscall: 'getaddrinfo' });
    await expect(Client.connect(free)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('on an address of another machine are a coded error', async () => {
    const { server } = makeServer(transport, { listeners: [{ port: 0, host: '192.0.2.1' }] });
    const error = await failure(server.start());
    expect(error.code).toBe('ERR_ODRADEK_LISTEN');
    expect(error.cause).toMatchObject({ code: 'EADDRNOTAVAIL' });
  });

  it('start once', async () => {
    const { server } = await startServer(transport);
    expect((await failure(server.start())).code).toBe('ERR_ODRADEK_INVALID_STATE');
    await server.close();
    expect((await failure(server.start())).code).toBe('ERR_ODRADEK_INVALID_STATE');
  });

  it('serve as many clients at once as their backlog holds', async () => {
    const listeners: ListenerOptions[] = [{ port: 0, backlog: 128 }];
    const testServer = await startServer(transport, { listeners });
    const clients = await Promise.all(Array.from({ length: 128 }, () => testServer.connect()));
    for (const client of clients) client.send(bytes("00000001'x'"));
    for (const client of clients) expect(await client.readText()).toBe('x');
  });
});

/** The coded error with which a promise rejects. */
async function failure(promise: Promise<unknown>): Promise<OdradekError> {
  const outcome = await promise.then(
    () => 'it resolved',
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(OdradekError);
  return outcome as OdradekError;
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = new SocketServer({ ...good, transport: 'js' });
  await server.start();
  const { port } = server.address();
  await server.close();
  return port;
}

describe('the default of networkThreads', () => {
  it.each([
    [1, 0, 1],
    [2, 1, 1],
    [4, 1, 1],
    [8, 2, 2],
    [64, 3, 3],
  ])('on %i cores is %i, and %i with a handlerPool', (cores, alone, withPool) => {
    expect(defaultNetworkThreads(false, cores)).toBe(alone);
    expect(defaultNetworkThreads(true, cores)).toBe(withPool);
  });
});
