// What a request costs on the JavaScript side of the boundary alone: batches from a core that is
// played, answered by an echo, in CPU time. Shows what a change of `src/transport/native` or
// `src/handler-pool` does without the kernel's noise.
//
//   node bench/crossing.mjs [sync|async] [connections] [requests of one in a row]
import { InThreadHandlerPool } from '../dist/handler-pool/in-thread-handler-pool.js';
import { checkOptions } from '../dist/options.js';
import {
  entriesPerTable,
  eventKinds,
  fieldsPerEntry,
  lastFlag,
  requestFields,
  slabBytes,
  statusFields,
} from '../dist/transport/native/crossing.js';
import { NativeTransport } from '../dist/transport/native/native-transport.js';

const [mode = 'sync', connections = '64', inARow = '16'] = process.argv.slice(2);
const rounds = 6;
const requestsPerRound = 1_000_000;
const headerBytes = 4;
const frameBytes = 132;

/** Always has a full table of requests. */
class PlayedCore {
  #tables;
  #sequences = new Uint32Array(Number(connections));
  #turn = 0;
  #toOpen = Number(connections);
  served = 0;

  constructor({ tables }) {
    this.#tables = tables;
    PlayedCore.latest = this;
  }

  start(doorbell) {
    setImmediate(doorbell);
  }

  claim(_slab, used) {
    const { requests, status } = this.#tables;
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
        at += frameBytes;
        count++;
      }
    }
    status[statusFields.slabUsed] = at;
    status[statusFields.more] = 1;
    status[statusFields.events] = this.#toOpen > 0 ? 1 : 0;
    this.served += count;
    return count;
  }

  takeEvents() {
    return Array.from({ length: this.#toOpen }, (_, slot) => {
      this.#toOpen--;
      const where = { localAddress: '127.0.0.1', localPort: 1, remoteAddress: '127.0.0.1' };
      const who = { processor: 0, slot, generation: 0, index: slot, listener: 0 };
      return { kind: eventKinds.opened, ...who, ...where, remotePort: slot };
    });
  }

  counters() {
    return { bound: [], processors: [] };
  }

  rest() {
    return true;
  }

  submit() {}

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
const pool = new InThreadHandlerPool(transport, settings, fail, () => undefined);
await transport.start();

let best = Number.POSITIVE_INFINITY;
for (let round = 0; round < rounds; round++) {
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
process.exit();
