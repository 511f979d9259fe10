// What a request costs on the JavaScript side of the boundary alone: batches from a core that is
// played, answered by an echo, in CPU time. Shows what a change of `src/transport/native` or
// `src/handler-pool` does without the kernel's noise.
//
//   node bench/crossing.mjs [sync|async] [connections] [requests of one in a row] [rounds]
import { InThreadHandlerPool, inThread } from '../dist/handler-pool/in-thread-handler-pool.js';
import { Refusal } from '../dist/handler-pool/refusal.js';
import { checkOptions } from '../dist/options.js';
import { HandlerTimes } from '../dist/request-times.js';
import {
  commandFields,
  commandFlags,
  entriesPerTable,
  eventKinds,
  fieldsPerEntry,
  lastFlag,
  requestFields,
  slabBytes,
  statusFields,
} from '../dist/transport/native/crossing.js';
import { NativeTransport } from '../dist/transport/native/native-transport.js';

const [mode = 'sync', connections = '64', inARow = '16', rounds = '150'] = process.argv.slice(2);
/** Short, so that some of the rounds are disturbed by nobody. */
const requestsPerRound = 25_000;
const headerBytes = 4;
const frameBytes = 132;

/** Always has a full table of requests. */
class PlayedCore {
  #tables;
  #sequences = new Uint32Array(Number(connections));
  #turn = 0;
  #events = [];
  served = 0;

  constructor({ tables }) {
    this.#tables = tables;
    PlayedCore.latest = this;
    for (let slot = 0; slot < Number(connections); slot++) {
      const where = { localAddress: '127.0.0.1', localPort: 1, remoteAddress: '127.0.0.1' };
      const from = { ...where, remotePort: slot, listener: 0, index: slot };
      this.#events.push({ kind: eventKinds.opened, processor: 0, slot, generation: 0, ...from });
    }
  }

  start(doorbell) {
    setImmediate(doorbell);
  }

  bound() {
    return { host: '127.0.0.1', port: 1 };
  }

  claim(_slab, used) {
    const { requests, times, status } = this.#tables;
    const now = performance.now();
    let count = 0;
    let at = used;
    const room = Math.floor((slabBytes - used) / frameBytes);
    const most = Math.min(entriesPerTable, room);
    while (count < most) {
      const slot = this.#turn++ % this.#sequences.length;
      for (let i = 0; i < Number(inARow) && count < most; i++) {
        const isLast = i === Number(inARow) - 1 || count === most - 1;
        const entry = count * fieldsPerEntry;
        requests[entry + requestFields.processor] = isLast ? lastFlag : 0;
        requests[entry + requestFields.slot] = slot;
        requests[entry + requestFields.generation] = 0;
        requests[entry + requestFields.sequence] = this.#sequences[slot]++;
        requests[entry + requestFields.offset] = at;
        requests[entry + requestFields.frameBytes] = frameBytes;
        requests[entry + requestFields.bodyBegin] = headerBytes;
        requests[entry + requestFields.bodyEnd] = frameBytes;
        times[count] = now;
        at += frameBytes;
        count++;
      }
    }
    status[statusFields.slabUsed] = at;
    status[statusFields.more] = 1;
    status[statusFields.events] = this.#events.length > 0 ? 1 : 0;
    this.served += count;
    return count;
  }

  takeEvents() {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  rest() {
    return true;
  }

  /** Whatever is given has left at once, which it says where it is asked. */
  submit(count) {
    const { commands } = this.#tables;
    for (let at = 0; at < count * fieldsPerEntry; at += fieldsPerEntry) {
      const flags = commands[at + commandFields.kind] >>> 16;
      if ((flags & commandFlags.notify) === 0) continue;
      this.#events.push({
        kind: eventKinds.pushSent,
        processor: 0,
        slot: commands[at + commandFields.slot],
        generation: 0,
        count: commands[at + commandFields.sequence],
      });
    }
  }

  stop() {}
}

const handler = mode === 'async' ? async ({ body }) => body : ({ body }) => body;
const settings = checkOptions({ listeners: [{ port: 0 }], transport: 'native', handler });
const transport = new NativeTransport({ NativeServer: PlayedCore }, settings, {
  connectionOpened: () => undefined,
  requestReceived: (request) => pool.receive(request),
  turnEnded: () => pool.endTurn(),
});
const fail = (error) => {
  throw error;
};
const pool = new InThreadHandlerPool(
  transport,
  settings,
  fail,
  () => undefined,
  inThread(new Refusal(undefined)),
  new HandlerTimes(),
);
await transport.start();

let best = Number.POSITIVE_INFINITY;
for (let round = 0; round < Number(rounds); round++) {
  const from = PlayedCore.latest.served;
  const before = process.cpuUsage();
  while (PlayedCore.latest.served < from + requestsPerRound) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  const { user, system } = process.cpuUsage(before);
  best = Math.min(best, ((user + system) * 1000) / (PlayedCore.latest.served - from));
}
console.log(`${mode}, ${connections}x${inARow}: ${best.toFixed(0)} ns of CPU a request`);
// The played core always has more.
process.exit();
