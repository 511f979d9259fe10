// Clients that keep requests in flight until their server is gone, and check every byte that comes
// back: what a connection got must be the beginning of what it had to get.
import { connect } from 'node:net';

/** A frame with a 4-byte size, as the default framing has it. */
export function frame(payload) {
  const size = Buffer.alloc(4);
  size.writeInt32BE(payload.length);
  return Buffer.concat([size, payload]);
}

/** Requests that a server echoes. */
export function echoed(sizes) {
  const block = Buffer.concat(sizes.map((size, i) => frame(Buffer.alloc(size, i + 1))));
  return { request: block, reply: block };
}

/** Requests of which each asks for a reply of its own size; see `sized` in server.mjs. */
export function sized(sizes, random) {
  const requests = sizes.map((size) => {
    const payload = Buffer.alloc(4 + random.below(size % 16 === 0 ? 40_000 : 400));
    payload.writeUInt32BE(size);
    return frame(payload);
  });
  const replies = sizes.map((size) => frame(Buffer.alloc(size, size & 0xff)));
  return { request: Buffer.concat(requests), reply: Buffer.concat(replies) };
}

export class Traffic {
  replies = 0;
  resets = 0;
  /** What came back wrong. */
  mistakes = [];
  #port;
  #block;
  #resetChance;
  #pauseMs;
  #random;
  #sockets = new Set();
  #isStopped = false;
  #waiting = new Set();

  /**
   * Connections that send `block` again and again: two at a time, or one with pauses of up to
   * `pauseMs`; some are reset.
   */
  constructor(port, block, { connections = 8, resetChance = 0, pauseMs = 0, random = null } = {}) {
    this.#port = port;
    this.#block = block;
    this.#resetChance = resetChance;
    this.#pauseMs = pauseMs;
    this.#random = random;
    for (let i = 0; i < connections; i++) this.#open();
  }

  #open() {
    const { request, reply } = this.#block;
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
    this.#sockets.add(socket);
    let at = 0;
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#changed();
    });
    socket.on('connect', () => {
      socket.write(request);
      if (this.#pauseMs === 0) socket.write(request);
    });
    socket.on('data', (chunk) => {
      for (let from = 0; from < chunk.length; ) {
        const length = Math.min(chunk.length - from, reply.length - at);
        const isRight = chunk.compare(reply, at, at + length, from, from + length) === 0;
        if (!isRight) this.mistakes.push(`a reply differs within ${length} bytes from ${at} on`);
        from += length;
        at += length;
        if (at < reply.length) continue;
        at = 0;
        this.replies++;
        if (this.#resets(socket)) break;
        if (this.#pauseMs === 0) socket.write(request);
        else setTimeout(() => socket.write(request), this.#random.below(this.#pauseMs));
      }
      this.#changed();
    });
  }

  #resets(socket) {
    if (this.#isStopped || this.#resetChance === 0) return false;
    if (this.#random.fraction() >= this.#resetChance) return false;
    this.resets++;
    socket.resetAndDestroy();
    this.#open();
    return true;
  }

  #changed() {
    for (const look of this.#waiting) look();
  }

  #when(condition) {
    return new Promise((resolve) => {
      const look = () => {
        if (!condition()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Blocks have been answered `count` times, or nobody is left to answer. */
  flows(count) {
    return this.#when(() => this.replies >= count || this.#sockets.size === 0);
  }

  /** Every connection was closed by the server's end. */
  ends() {
    this.#isStopped = true;
    return this.#when(() => this.#sockets.size === 0);
  }

  stop() {
    this.#isStopped = true;
    for (const socket of this.#sockets) socket.destroy();
  }
}
