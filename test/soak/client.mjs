// One connection of the soak: sends numbered requests ahead of their replies, checks each reply's
// place and bytes, and ends in the way that it has drawn. What came of it is judged when the server
// has said why the connection ended.
import { connect } from 'node:net';
import { isFilledWith, readReply, writeRequest } from './wire.mjs';

/** By manner: how many of hundred connections have it. */
const manners = {
  // Sends everything, half-closes, and reads to the end.
  orderly: 50,
  // Resets at some reply: between frames, in the middle of one, or with replies unread.
  resetting: 25,
  // Half-closes in the middle of a frame.
  truncating: 10,
  // Asks hardly anything, and stays.
  idle: 15,
};

const usual = ['echo', 'echo', 'echo', 'make', 'make', 'soon', 'soon', 'wait', 'wait', 'spin'];
/** Requests that end their thread, and those that only a time-out ends. */
export const strikes = {
  ending: ['exit', 'exitLater', 'crash', 'reject', 'eat'],
  staying: ['hang', 'stick'],
};

/** What a request may be answered with besides its reply. */
const errorCodes = ['ERR_ODRADEK_HANDLER_LOST', 'ERR_ODRADEK_HANDLER_TIMEOUT'];

function drawManner(random) {
  let left = random.below(100);
  for (const [manner, share] of Object.entries(manners)) {
    left -= share;
    if (left < 0) return manner;
  }
}

export class Client {
  number;
  port = 0;
  /** Why the server says that it ended it. */
  reason = null;
  isGone = false;
  mistakes = [];
  replies = 0;
  errorReplies = 0;
  /** When something came back last, or was asked first. */
  changedAt = performance.now();
  #phase;
  #random;
  #socket;
  #received = Buffer.alloc(0);
  /** Sent and not answered, in their order. */
  #waiting = [];
  #sequence = 0;
  #left;
  #window;
  #manner;
  #isSlow;
  /** What it did to its connection: 'ended', 'truncated', 'reset' or nothing. */
  #deed = null;
  #hasAskedForLast = false;
  /** A request that may cost the connection was sent. */
  #mayFail = false;
  #next = null;
  #error = null;
  #idling;
  #resting;
  #resetting;

  /** `phase` has the port, draws ids, and hears of changes. */
  constructor(phase, number, random) {
    this.#phase = phase;
    this.number = number;
    this.#random = random;
    this.#manner = drawManner(random);
    this.#isSlow = random.below(8) === 0;
    this.#left = this.#manner === 'idle' ? random.below(2) : 10 + random.below(600);
    this.#window = random.pick([1, 2, 8, 40]);
    this.#socket = connect({
      port: phase.port,
      host: '127.0.0.1',
      noDelay: true,
      allowHalfOpen: true,
    });
    this.#socket.on('connect', () => this.#connected());
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', (error) => {
      this.#error = error;
    });
    this.#socket.on('end', () => this.#serverEnded());
    this.#socket.on('close', () => this.#closed());
  }

  #connected() {
    this.port = this.#socket.localPort;
    this.#phase.connected(this);
    if (this.#manner === 'idle') {
      this.#idling = setTimeout(() => this.finish(), this.#random.below(3000));
    }
    this.#fill();
  }

  /** The next request is to end or to keep its thread. */
  strike(command) {
    this.#next = command;
    this.#fill();
  }

  /** No new requests: it goes in its manner, soon. */
  finish() {
    this.#left = 0;
    clearTimeout(this.#idling);
    if (this.port > 0) this.#fill();
  }

  #fill() {
    if (this.#deed !== null || this.#hasAskedForLast) return;
    const frames = [];
    while (this.#left > 0 && this.#waiting.length < this.#window) {
      if (this.#hasAskedForLast) break;
      this.#left--;
      frames.push(this.#ask());
    }
    if (frames.length > 0) this.#socket.write(Buffer.concat(frames));
    if (this.#left === 0 && !this.#hasAskedForLast) this.#leave();
  }

  #ask() {
    const command = this.#next ?? this.#draw();
    const isBad = this.#next !== null || command === 'throw';
    this.#next = null;
    const request = {
      id: this.#phase.drawId(),
      connection: this.number,
      sequence: this.#sequence++,
      command,
      isFatal: isBad && this.#random.below(4) === 0,
      argument: this.#random.below(command === 'spin' ? 4 : 30),
      bodyBytes: this.#size(),
      replyBytes: this.#size(),
    };
    if (this.#waiting.length === 0) this.changedAt = performance.now();
    this.#waiting.push(request);
    if (request.isFatal) this.#mayFail = true;
    if (command === 'last') this.#hasAskedForLast = true;
    return writeRequest(request);
  }

  #draw() {
    const chance = this.#random.below(400);
    if (chance === 0) return 'last';
    if (chance < 4) return 'throw';
    return this.#random.pick(usual);
  }

  #size() {
    const chance = this.#random.below(200);
    if (chance === 0) return 60_000 + this.#random.below(200_000);
    if (chance < 12) return 1000 + this.#random.below(40_000);
    return this.#random.below(200);
  }

  #leave() {
    if (this.#manner === 'resetting') {
      this.#reset();
    } else if (this.#manner === 'truncating') {
      this.#deed = 'truncated';
      this.#socket.end(this.#partOfFrame());
    } else {
      this.#deed = 'ended';
      this.#socket.end();
    }
  }

  #partOfFrame() {
    const frame = Buffer.alloc(100);
    frame.writeInt32BE(96 + this.#random.below(100_000));
    return frame.subarray(0, 1 + this.#random.below(99));
  }

  #reset() {
    this.#deed = 'reset';
    if (this.#random.below(2) === 0) this.#socket.write(this.#partOfFrame());
    clearTimeout(this.#resting);
    this.#socket.pause();
    // What was written may leave first, and replies may come that nobody reads.
    this.#resetting = setTimeout(() => this.#socket.resetAndDestroy(), this.#random.below(30));
  }

  #receive(chunk) {
    this.changedAt = performance.now();
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    let at = 0;
    while (this.#received.length - at >= 4) {
      const end = at + 4 + this.#received.readInt32BE(at);
      if (this.#received.length < end) break;
      this.#check(this.#received.subarray(at + 4, end));
      at = end;
    }
    this.#received = this.#received.subarray(at);
    if (this.#isSlow && this.#random.below(4) === 0) this.#rest();
    this.#fill();
  }

  /** Nobody reads for a while. */
  #rest() {
    this.#socket.pause();
    this.#resting = setTimeout(() => this.#socket.resume(), this.#random.below(300));
  }

  #check(body) {
    const request = this.#waiting.shift();
    const { id, text, filling } = readReply(body);
    this.replies++;
    if (request === undefined) return this.#mistake(`a reply to ${id}, and nothing was asked`);
    if (request.id !== id) {
      const asked = this.#waiting.find((other) => other.id === id);
      const what = asked === undefined ? `a reply to ${id}` : `the reply to ${describe(asked)}`;
      return this.#mistake(`${what} where that to ${describe(request)} was due: ${text}`);
    }
    if (text !== '') return this.#checkError(request, text);
    const length = request.command === 'echo' ? request.bodyBytes : request.replyBytes;
    if (filling.length !== length || !isFilledWith(filling, id)) {
      this.#mistake(`the reply to ${describe(request)} differs`);
    }
  }

  #checkError(request, text) {
    this.errorReplies++;
    const isLoss = errorCodes.includes(text) && this.#phase.explains(text);
    const isThrown = request.command === 'throw' && text === 'thrown by the handler';
    if (request.isFatal) this.#mistake(`${describe(request)} was to cost its connection: ${text}`);
    else if (!isLoss && !isThrown) this.#mistake(`${describe(request)}: ${text}`);
    // The connection stays, as its last request was lost.
    if (request.command === 'last') {
      this.#hasAskedForLast = false;
      this.#left = 0;
    }
  }

  #serverEnded() {
    // What it sent up to here was read; the socket closes when both sides have ended.
    if (this.#deed === null) this.#socket.end();
  }

  #closed() {
    this.isGone = true;
    this.#stopTimers();
    this.#phase.gone(this);
  }

  stop() {
    this.#stopTimers();
    this.#socket.destroy();
  }

  #stopTimers() {
    for (const timer of [this.#idling, this.#resting, this.#resetting]) clearTimeout(timer);
  }

  #mistake(text) {
    this.mistakes.push(`${this}: ${text}`);
    this.#phase.mistaken();
  }

  get wasReset() {
    return this.#deed === 'reset';
  }

  get isWaiting() {
    return this.#waiting.length > 0 && !this.isGone && !this.wasReset;
  }

  toString() {
    const first = this.#waiting[0];
    const parts = [
      `connection ${this.number} from port ${this.port}, ${this.#manner}, ${this.#deed ?? 'open'}`,
      `${this.#sequence} asked, ${this.replies} answered, window ${this.#window}`,
    ];
    if (first !== undefined) parts.push(`waits for ${describe(first)}`);
    if (this.#error !== null) parts.push(this.#error.message);
    if (this.reason !== null) parts.push(JSON.stringify(this.reason));
    return parts.join('; ');
  }

  /** When both sides have ended: what in this end nothing explains, if anything. */
  judge() {
    if (this.wasReset) return; // any end, as late as it comes
    if (this.reason === null) return this.#mistake('the server has not told of its end');
    if (!this.#isExplained()) this.#mistake('nothing explains this end');
  }

  #isExplained() {
    const isAnswered = this.#waiting.length === 0 && this.#received.length === 0;
    switch (this.reason.code) {
      case 'PEER_CLOSED':
        return this.#deed === 'ended' && isAnswered && this.reason.unanswered === 0;
      case 'TRUNCATED_FRAME':
        return this.#deed === 'truncated' && isAnswered && this.reason.unanswered === 0;
      case 'CLOSED_BY_HANDLER':
        return this.#hasAskedForLast && isAnswered;
      case 'HANDLER_ERROR':
        return this.#mayFail && this.#has(({ command }) => command === 'throw');
      case 'HANDLER_LOST':
        return this.#mayFail && this.#phase.explains('ERR_ODRADEK_HANDLER_LOST');
      case 'HANDLER_TIMEOUT':
        return this.#mayFail && this.#phase.explains('ERR_ODRADEK_HANDLER_TIMEOUT');
      case 'SERVER_CLOSED':
      case 'DEADLINE':
        return this.#phase.isClosing;
      default:
        return false;
    }
  }

  #has(condition) {
    return this.#waiting.some((request) => request.isFatal && condition(request));
  }
}

function describe(request) {
  const { id, sequence, command, isFatal, argument, bodyBytes, replyBytes } = request;
  return `${isFatal ? 'fatal ' : ''}${command}(${argument}) ${id}, number ${sequence}, ${bodyBytes} to ${replyBytes} bytes`;
}
