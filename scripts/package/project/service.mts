// A service as a strict project would write it: what is right has to compile, what is wrong must not.
import {
  type Connection,
  delimited,
  lengthPrefixed,
  noReply,
  OdradekError,
  type Request,
  SocketServer,
  type SocketServerOptions,
} from 'odradek';

interface Session {
  requests: number;
}

const options: SocketServerOptions<Session> = {
  listeners: [
    { host: '127.0.0.1', port: 0, framing: lengthPrefixed() },
    { port: 0, framing: delimited('\n') },
  ],
  onConnect: (connection: Connection<Session>) => {
    connection.state = { requests: 0 };
  },
  handler: async (request: Request<Session>) => {
    request.connection.state.requests++;
    return request.body.length === 0 ? noReply : request.body;
  },
};

export async function serve(): Promise<number> {
  const server = new SocketServer(options);
  server.on('connectionClosed', (_connection, reason) => {
    const code: string = reason.code;
    console.log(code);
  });
  try {
    await server.start();
  } catch (error) {
    if (error instanceof OdradekError && error.code === 'ERR_ODRADEK_LISTEN') return 0;
    throw error;
  }
  const { port } = server.address();
  const { processors } = server.metrics();
  await server.close({ timeoutMs: 1000 });
  return port + processors.length;
}

// @ts-expect-error: a handler returns bytes
export const numbers = new SocketServer({ listeners: [{ port: 0 }], handler: () => 5 });
// @ts-expect-error: a port is a number
export const text = new SocketServer({ listeners: [{ port: '9092' }], handler: () => noReply });
