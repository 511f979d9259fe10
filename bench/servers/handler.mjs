// The handler of every server in JavaScript: an echo that may be told to work, to block, or to be
// async. The environment says so; worker threads see the same one.
import { pbkdf2Sync } from 'node:crypto';

const isAsync = process.env.BENCH_ASYNC === '1';
const workRounds = Number(process.env.BENCH_WORK_ROUNDS ?? 0);
const blockMs = Number(process.env.BENCH_BLOCK_MS ?? 0);

/** The load generator begins the body of a marked request with it. */
const mark = 'M'.charCodeAt(0);

/** `(body) => body`, after what the shape asks for. */
export const answer = makeAnswer();

function makeAnswer() {
  if (workRounds > 0) return working;
  if (blockMs > 0) return blocking;
  return (body) => body;
}

/** The same work each time, however long it takes where cores are short (see work.mjs). */
function working(body) {
  pbkdf2Sync('odradek', 'spool', workRounds, 32, 'sha256');
  return body;
}

/** Blocks the thread without using it, as a synchronous read of a file does. */
function blocking(body) {
  if (body[0] === mark) Atomics.wait(sleeper, 0, 0, blockMs);
  return body;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** As odradek's handlers are called. */
export default isAsync
  ? async (request) => answer(request.body)
  : (request) => answer(request.body);
