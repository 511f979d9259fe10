// What is done to the server. Each is a function of the port, a scale (1: as docs/limits.md says; less: a part
// of it), and how long it may hold on; it resolves when the attack is over, to what the attacker saw.
import { once } from 'node:events';
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';

/** Connections that are made at a time. */
const atOnce = 50;

function open(port, options = {}) {
  const socket = connect({ port, host: '127.0.0.1', ...options });
  socket.on('error', () => undefined);
  socket.settled = Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(
    () => undefined,
  );
  return socket;
}

/** So many sockets, each begun by `begin`. */
async function openMany(port, count, begin, options = () => ({})) {
  const sockets = [];
  while (sockets.length < count) {
    const batch = [];
    while (batch.length < atOnce && sockets.length < count) {
      const socket = open(port, options(sockets.length));
      sockets.push(socket);
      batch.push(socket);
    }
    await Promise.all(batch.map(({ settled }) => settled));
    for (const socket of batch) begin?.(socket);
  }
  return sockets;
}

async function closeAll(sockets) {
  for (const socket of sockets) socket.destroy();
  await Promise.all(sockets.map((socket) => socket.closed || once(socket, 'close')));
}

const stillOpen = (sockets) => sockets.filter((socket) => !socket.destroyed).length;

function header(size) {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(size);
  return bytes;
}

/** Holds on until the time is over, or the server has ended all of them. */
async function hold(sockets, holdMs, everySecond) {
  const until = performance.now() + holdMs;
  while (performance.now() < until && stillOpen(sockets) > 0) {
    everySecond?.();
    await pause(Math.min(1000, Math.max(1, until - performance.now())));
  }
}

export const attacks = {
  /** Connections that send one byte of a frame a second. */
  async slowloris(port, scale, holdMs) {
    const sockets = await openMany(port, Math.ceil(5000 * scale), (socket) => {
      socket.resume();
      socket.write(header(1000));
    });
    await hold(sockets, holdMs, () => {
      for (const socket of sockets) if (!socket.destroyed) socket.write('x');
    });
    const saw = `${sockets.length} connections, ${stillOpen(sockets)} open at the end`;
    await closeAll(sockets);
    return saw;
  },

  /** Frames that say that they are of 2^31-1 bytes, or of -1. */
  async sizes(port, scale, holdMs) {
    let size = 2 ** 31 - 1;
    const sockets = await openMany(port, Math.ceil(2000 * scale), (socket) => {
      socket.resume();
      socket.write(header(size));
      size = size === -1 ? 2 ** 31 - 1 : -1;
    });
    await hold(sockets, holdMs);
    const saw = `${sockets.length} connections, ${stillOpen(sockets)} open at the end`;
    await closeAll(sockets);
    return saw;
  },

  /** Clients that ask for 64 KiB again and again, and read nothing. */
  async readers(port, scale, holdMs) {
    const frame = Buffer.concat([header(65_536), Buffer.alloc(65_536, 'r')]);
    const sockets = await openMany(port, Math.ceil(200 * scale), (socket) => {
      socket.pause();
      for (let i = 0; i < 100; i++) socket.write(frame);
    });
    await hold(sockets, holdMs);
    const saw = `${sockets.length} connections, ${stillOpen(sockets)} open at the end`;
    await closeAll(sockets);
    return saw;
  },

  /** Clients that connect and reset, as fast as they can. */
  async storm(port, scale) {
    const count = Math.ceil(50_000 * scale);
    const until = performance.now() + 60_000;
    let made = 0;
    while (made < count && performance.now() < until) {
      const sockets = await openMany(port, Math.min(atOnce * 4, count - made));
      for (const socket of sockets) socket.resetAndDestroy();
      made += sockets.length;
    }
    return `${made} connections`;
  },

  /** More connections than the server has descriptors for. */
  async descriptors(port, scale, holdMs) {
    const sockets = await openMany(port, Math.max(400, 1000 * scale), (socket) => socket.resume());
    await hold(sockets, Math.min(holdMs, 3000));
    const saw = `${sockets.length} connections, ${stillOpen(sockets)} open at the end`;
    await closeAll(sockets);
    return saw;
  },

  /** One address that takes all that it gets, and others that come then. */
  async address(port, scale, holdMs) {
    const greedy = await openMany(
      port,
      Math.ceil(10_000 * scale),
      (socket) => socket.resume(),
      () => ({ localAddress: '127.0.0.2' }),
    );
    await hold(greedy, Math.min(holdMs, 2000));
    const others = await openMany(
      port,
      Math.ceil(250 * scale),
      (socket) => socket.resume(),
      (index) => ({ localAddress: `127.0.1.${1 + (index % 250)}` }),
    );
    for (const socket of others) socket.write(Buffer.concat([header(5), Buffer.from('hello')]));
    const answers = others.map((socket) => once(socket, 'data').then(() => 1));
    const answered = await Promise.race([Promise.all(answers), pause(10_000, [])]);
    const saw = `one address: ${stillOpen(greedy)} of ${greedy.length} connections; ${answered.length} of ${others.length} others answered`;
    await closeAll([...greedy, ...others]);
    if (answered.length < others.length) throw new Error(saw);
    return saw;
  },
};
