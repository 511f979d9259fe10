// In-process servers that answer as a test wants them to.
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach } from 'vitest';

/** The generator and the runner read Linux's epoll and /proc. */
export const isLinux = process.platform === 'linux';

const open: Server[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

export type Answer = (socket: Socket, chunk: Buffer) => void;

export const echo: Answer = (socket, chunk) => {
  socket.write(chunk);
};

export interface Serving {
  port: number;
  /** How many connections there have been. */
  connections: () => number;
  close: () => Promise<void>;
}

/** Calls `answer` with all that comes, until the test ends. */
export async function serve(answer: Answer): Promise<Serving> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.on('data', (chunk) => answer(socket, chunk)).on('error', () => socket.destroy());
  });
  open.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    connections: () => connections,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
