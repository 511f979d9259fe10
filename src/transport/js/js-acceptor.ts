import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { describe, OdradekError } from '../../errors.js';
import type { Listener } from '../../options.js';
import { resolveHost } from '../../resolve-host.js';
import type { Address } from '../../transport.js';
import { socketHighWaterMark } from './bounds.js';

/** What an acceptor tells: a socket that nobody reads yet, or that accepting one failed. */
export interface AcceptorEvents {
  accepted(socket: Socket): void;
  failed(error: NodeJS.ErrnoException): void;
}

/** Listens for one listener: Kafka's Acceptor, which here is a server of `node:net`. */
export class JsAcceptor<State> {
  readonly #listener: Listener<State>;
  readonly #server: Server;
  #isClosed = false;

  constructor(listener: Listener<State>, events: AcceptorEvents) {
    this.#listener = listener;
    this.#server = createServer({
      allowHalfOpen: true,
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      highWaterMark: socketHighWaterMark,
    });
    this.#server.on('connection', (socket: Socket) => events.accepted(socket));
    this.#server.on('error', (error: NodeJS.ErrnoException) => {
      // Failing to listen is what `open` throws.
      if (this.#server.listening) events.failed(error);
    });
  }

  /** Resolves the host and listens. Throws `ERR_ODRADEK_HOST` or `ERR_ODRADEK_LISTEN`. */
  async open(): Promise<void> {
    const { name, host, port, backlog } = this.#listener;
    const address = await resolveHost(host);
    if (this.#isClosed) return;
    const server = this.#server;
    server.listen({ host: address, port, backlog });
    try {
      await once(server, 'listening');
    } catch (cause) {
      throw new OdradekError(
        'ERR_ODRADEK_LISTEN',
        `listener ${describe(name)} on ${host}:${port}: ${(cause as Error).message}`,
        { cause },
      );
    }
    // Node listens although the server was closed meanwhile.
    if (this.#isClosed) server.close();
  }

  get address(): Address | undefined {
    const address = this.#server.address() as AddressInfo | null;
    return address === null ? undefined : { host: address.address, port: address.port };
  }

  /** Stops listening. Idempotent, and safe while {@link open} is under way. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#server.listening) this.#server.close();
  }

  hold(isHeld: boolean): void {
    if (isHeld) this.#server.ref();
    else this.#server.unref();
  }
}
