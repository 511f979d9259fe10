// A client that behaves: asks again and again on one connection, some hundred times a second, and sees that each
// answer is right. Says what it has seen when its standard input ends.
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';

const port = Number(process.argv[2]);
const pauseMs = 5;
const latencies = [];
let wrong = 0;
let end = null;

let input = Buffer.alloc(0);
let heard = () => undefined;
const socket = connect({ port, host: '127.0.0.1', noDelay: true });
socket.on('error', (error) => {
  end ??= error.code;
});
socket.on('close', () => {
  end ??= 'closed';
  heard();
});
await new Promise((resolve) => socket.once('connect', resolve));

socket.on('data', (chunk) => {
  input = Buffer.concat([input, chunk]);
  heard();
});

/** Asks once; resolves when the answer is whole, or the connection has ended. */
async function ask(number) {
  const frame = Buffer.alloc(132);
  frame.writeUInt32BE(128);
  frame.fill(number % 251, 4);
  const begin = performance.now();
  socket.write(frame);
  while (input.length < frame.length && end === null) {
    await new Promise((resolve) => {
      heard = resolve;
    });
  }
  if (end !== null) return;
  latencies.push(performance.now() - begin);
  if (!input.equals(frame)) wrong++;
  input = Buffer.alloc(0);
}

// The server has accepted it now: its descriptor is among those from before the attack.
await ask(0);
console.log('ready');
let isOver = false;
process.stdin.on('end', () => {
  isOver = true;
});
process.stdin.resume();
for (let number = 1; !isOver && end === null; number++) {
  await ask(number);
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
}
latencies.sort((one, other) => one - other);
const at = (share) => latencies[Math.floor((latencies.length - 1) * share)] ?? 0;
console.log(
  JSON.stringify({
    requests: latencies.length,
    wrong,
    end,
    p50: at(0.5),
    p99: at(0.99),
    worst: at(1),
  }),
);
socket.destroy();
