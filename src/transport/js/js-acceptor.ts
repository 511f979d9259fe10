import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Endpoints } from '../../connection.js';
import { describe, OdradekError } from '../../errors.js';
import { Fifo } from '../../fifo.js';
import { countedAddress } from '../../ip-address.js';
import type { ListenerCounts } from '../../metrics.js';
import type { Listener } from '../../options.js';
import { resolveHost } from '../../resolve-host.js';
import type { Address } from '../../transport.js';
import { maxParked, socketHighWaterMark } from './bounds.js';
import type { Admission, ConnectionQuotas } from './connection-quotas.js';

/** What an acceptor tells: a socket that was let in and that nobody reads, or that accepting failed. */
export interface AcceptorEvents {
  accepted(socket: Socket, endpoints: Endpoints, admission: Admission): void;
  failed(error: NodeJS.ErrnoException): void;
}

/** A socket that is held back before it is closed. */
interface Parked {
  readonly socket: Socket;
  readonly until: number;
}

/**
 * Listens for one listener: Kafka's Acceptor, which here is a server of `node:net`. That one can't wait
 * with accepting: sockets for which there is no place yet stand in line here, unread, as many as
 * `backlog` says; one more is closed.
 */
export class JsAcceptor<State> {
  readonly #listener: Listener<State>;
  readonly #quotas: ConnectionQuotas;
  readonly #events: AcceptorEvents;
  readonly #server: Server;
  readonly #waiting = new Fifo<Socket>();
  /** The earliest is first. */
  readonly #parked: Parked[] = [];
  #timer: NodeJS.Timeout | undefined;
  #blockedMs = 0;
  #blockedSince: number | null = null;
  /** What waits does so for a rate. */
  #rateWaitMs = 0;
  #rateWaitSince: number | null = null;
  #rateWaits = 0;
  #parkedMs = 0;
  #acceptedTotal = 0;
  #refusedTotal = 0;
  #throttledTotal = 0;
  #isHeld = true;
  #isClosed = false;

  constructor(listener: Listener<State>, quotas: ConnectionQuotas, events: AcceptorEvents) {
    this.#listener = listener;
    this.#quotas = quotas;
    this.#events = events;
    this.#server = createServer({
      allowHalfOpen: true,
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      highWaterMark: socketHighWaterMark,
    });
    this.#server.on('connection', (socket: Socket) => this.#arrived(socket));
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

  // --- Letting in -------------------------------------------------------------------------------

  #arrived(socket: Socket): void {
    if (this.#isClosed) {
      socket.destroy();
    } else if (this.#waiting.length >= this.#listener.backlog) {
      this.#refuse(socket);
    } else {
      // Nobody else listens yet, and what goes wrong meanwhile is seen when it is read.
      socket.on('error', ignore);
      if (!this.#isHeld) socket.unref();
      this.#waiting.push(socket);
      this.goOn();
    }
  }

  /** Lets in who waits, in order, as far as the quotas allow it now. */
  goOn(): void {
    const now = performance.now();
    let blockedUntil = Infinity;
    for (let socket = this.#waiting.first; socket !== undefined; socket = this.#waiting.first) {
      const until = this.#judge(socket, now);
      if (until !== null) {
        this.#block(until, now);
        blockedUntil = until;
        break;
      }
    }
    if (this.#waiting.length === 0) this.#unblock(now);
    this.#setTimer(Math.min(blockedUntil, this.#parked[0]?.until ?? Infinity), now);
  }

  /** Until when the first in line waits on; `null`: it doesn't stand there any more. */
  #judge(socket: Socket, now: number): number | null {
    const endpoints = endpointsOf(socket);
    // A client that has reset the connection already has no address any more: nobody is there.
    if (endpoints === null) {
      this.#waiting.shift();
      socket.destroy();
      return null;
    }
    const address = countedAddress(endpoints.remoteAddress);
    const verdict = this.#quotas.admit(this.#listener.index, address, now);
    if (verdict.kind === 'wait') return verdict.until;
    this.#waiting.shift();
    this.#unblock(now);
    if (verdict.kind === 'admitted') {
      this.#acceptedTotal++;
      socket.off('error', ignore);
      this.#events.accepted(socket, endpoints, verdict.admission);
    } else if (verdict.kind === 'park' && this.#parked.length < maxParked) {
      this.#throttledTotal++;
      this.#parkedMs += verdict.until - now;
      this.#park({ socket, until: verdict.until });
    } else {
      this.#refuse(socket);
    }
    return null;
  }

  #refuse(socket: Socket): void {
    this.#refusedTotal++;
    socket.destroy();
  }

  /** The client is kept waiting before it is told, so that it doesn't come again at once. */
  #park(parked: Parked): void {
    const at = this.#parked.findLastIndex(({ until }) => until <= parked.until);
    this.#parked.splice(at + 1, 0, parked);
  }

  #setTimer(until: number, now: number): void {
    clearTimeout(this.#timer);
    if (until === Infinity) return;
    this.#timer = setTimeout(() => this.#timeIsUp(), Math.max(1, Math.ceil(until - now))).unref();
  }

  #timeIsUp(): void {
    const now = performance.now();
    while (this.#parked[0] !== undefined && this.#parked[0].until <= now) {
      this.#parked.shift()?.socket.destroy();
    }
    this.goOn();
  }

  /** For a rate, which allows it at a known moment; or for a place. */
  #block(until: number, now: number): void {
    this.#blockedSince ??= now;
    if (until === Infinity) {
      this.#endRateWait(now);
    } else if (this.#rateWaitSince === null) {
      this.#rateWaitSince = now;
      this.#rateWaits++;
    }
  }

  #unblock(now: number): void {
    if (this.#blockedSince !== null) this.#blockedMs += now - this.#blockedSince;
    this.#blockedSince = null;
    this.#endRateWait(now);
  }

  #endRateWait(now: number): void {
    if (this.#rateWaitSince !== null) this.#rateWaitMs += now - this.#rateWaitSince;
    this.#rateWaitSince = null;
  }

  // --- The end ----------------------------------------------------------------------------------

  /** Stops listening, and closes who was not let in. Idempotent, and safe while {@link open} goes on. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#server.listening) this.#server.close();
    clearTimeout(this.#timer);
    this.#unblock(performance.now());
    for (const socket of this.#held()) socket.destroy();
    this.#waiting.clear();
    this.#parked.length = 0;
  }

  *#held(): Iterable<Socket> {
    for (let i = 0; i < this.#waiting.length; i++) yield this.#waiting.at(i) as Socket;
    for (const { socket } of this.#parked) yield socket;
  }

  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    for (const held of [this.#server, ...this.#held()]) {
      if (isHeld) held.ref();
      else held.unref();
    }
  }

  counts(): ListenerCounts {
    const now = performance.now();
    const since = (moment: number | null) => (moment === null ? 0 : now - moment);
    return {
      name: this.#listener.name,
      connections: this.#quotas.ofListener(this.#listener.index).connections,
      connectionsAcceptedTotal: this.#acceptedTotal,
      connectionsRefusedTotal: this.#refusedTotal,
      connectionsThrottledTotal: this.#throttledTotal,
      throttledSockets: this.#parked.length,
      blockedMs: this.#blockedMs + since(this.#blockedSince),
      connectionAcceptThrottleTimesTotal: this.#rateWaits,
      connectionAcceptThrottleMs: this.#rateWaitMs + since(this.#rateWaitSince),
      ipConnectionAcceptThrottleMs: this.#parkedMs,
    };
  }
}

function ignore(): void {}

function endpointsOf(socket: Socket): Endpoints | null {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  if (localAddress === undefined || localPort === undefined) return null;
  if (remoteAddress === undefined || remotePort === undefined) return null;
  return { localAddress, localPort, remoteAddress, remotePort };
}
