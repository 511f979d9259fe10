// The same on Bun's own sockets: bun bun.mjs
import { Framed } from './framed.mjs';
import { serving } from './serving.mjs';

/** A connection's state: its frames, and what the kernel hasn't taken of its replies. */
class Connection {
  #framed = new Framed();
  #socket;
  #unsent = [];
  #write = (bytes) => this.#send(bytes);
  #writeLarge = (prefix, body) => {
    this.#send(prefix);
    this.#send(body);
  };

  constructor(socket) {
    this.#socket = socket;
  }

  receive(chunk) {
    this.#framed.receive(chunk, this.#write, this.#writeLarge);
  }

  drain() {
    while (this.#unsent.length > 0) {
      const bytes = this.#unsent[0];
      const sent = this.#socket.write(bytes);
      if (sent < bytes.length) {
        this.#unsent[0] = bytes.subarray(Math.max(sent, 0));
        return;
      }
      this.#unsent.shift();
    }
  }

  #send(bytes) {
    const sent = this.#unsent.length > 0 ? 0 : Math.max(this.#socket.write(bytes), 0);
    if (sent < bytes.length) this.#unsent.push(bytes.subarray(sent));
  }
}

const server = Bun.listen({
  hostname: '127.0.0.1',
  port: 0,
  socket: {
    open(socket) {
      socket.data = new Connection(socket);
    },
    data(socket, chunk) {
      socket.data.receive(chunk);
    },
    drain(socket) {
      socket.data.drain();
    },
    error(socket) {
      socket.end();
    },
  },
});
serving(server.port);
