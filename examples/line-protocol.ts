// A message board that speaks lines. Commands: name <you>, say <text>, next (waits until somebody
// says something), who, quit
import { EventEmitter, once } from 'node:events';
import {
  closeConnection,
  delimited,
  type Reply,
  type Request,
  replyAndClose,
  SocketServer,
} from 'odradek';

interface Visitor {
  name: string;
}

const maxVisitors = 100;
const board = new EventEmitter<{ said: [line: string] }>();
board.setMaxListeners(maxVisitors);
const visitors = new Set<Visitor>();

const server = new SocketServer<Visitor>({
  listeners: [{ port: Number(process.env.PORT ?? 7001) }],
  framing: delimited('\n', { maxFrameBytes: 1000 }),
  onConnect(connection) {
    if (visitors.size >= maxVisitors) return closeConnection;
    connection.state = { name: `guest-${connection.remotePort}` };
    visitors.add(connection.state);
    return Buffer.from('hello');
  },
  onDisconnect(connection) {
    visitors.delete(connection.state);
  },
  handler: answer,
});

function answer(request: Request<Visitor>): Reply | Promise<Reply> {
  const { state: visitor } = request.connection;
  const [, command, text = ''] = /^(\w*) ?(.*?)\r?$/.exec(request.body.toString()) ?? [];
  switch (command) {
    case 'name':
      visitor.name = text || visitor.name;
      return line(`you are ${visitor.name}`);
    case 'say':
      board.emit('said', `${visitor.name}: ${text}`);
      return line('said');
    case 'who':
      return line([...visitors].map(({ name }) => name).join(', '));
    case 'next':
      return next(request);
    case 'quit':
      return replyAndClose(line('bye'));
    default:
      return line('commands: name <you>, say <text>, next, who, quit');
  }
}

/** An async handler: this connection waits, all others go on. */
async function next({ signal }: Request<Visitor>): Promise<Reply> {
  try {
    const [said] = await once(board, 'said', { signal });
    return line(said);
  } catch {
    return closeConnection; // the visitor has left without waiting
  }
}

function line(text: string): Buffer {
  return Buffer.from(text);
}

// Who waits for something to be said is answered before the board closes.
server.draining.addEventListener('abort', () => board.emit('said', 'the board closes'));

await server.start();
console.log('message board on', server.address());

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => server.close());
