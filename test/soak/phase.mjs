// One phase of the soak: a server as its plan draws it, connections that come and go, and what
// happens to both at random: resizes, lost threads, resets; then an end, and nothing may be left.
import { Child, patienceMs, sleep, within } from '../lifetime/child.mjs';
import { Random } from '../lifetime/random.mjs';
import { Client, strikes } from './client.mjs';
import { mostConnections, mostRequests } from './wire.mjs';

/** How long a request may wait for its reply: a lost thread's replacement waits for 5 s at most. */
const stallMs = 30_000;

/** What a server may take beyond the deadline of close(), on a machine with much to do. */
const graceMs = 3000;

const closeMs = 5000;

/** What a server of 64 connections may need: far more than it does, far less than a leak takes. */
const peakBytes = 1024 ** 3;

export function drawPlan(random, transport) {
  return {
    transport,
    networkThreads: random.below(4),
    threads: 1 + random.below(4),
    affinity: random.pick(['any', 'connection']),
    maxInFlight: random.pick([1, 1, 4, 16]),
    concurrency: random.pick([1, 4, 64]),
    queuedMaxRequests: random.pick([2, 20, 500]),
    handlerTimeoutMs: random.pick([0, 400, 1000]),
    connections: random.pick([4, 16, 32, 64]),
    strikeEveryMs: random.pick([300, 1000, 3000]),
    resizeEveryMs: random.pick([50, 400, 1500]),
    /** close() comes in the middle of the traffic. */
    isCut: random.below(2) === 0,
  };
}

/**
 * A pool of one thread that is ended again and again comes back 5 s later each time: what has been struck
 * must be worked off within the time in which a phase has to end.
 */
const mostStrikes = 16;

export class Phase {
  port = 0;
  isClosing = false;
  #run;
  #plan;
  #random;
  #child;
  #clients = new Set();
  /** By their ports, in their order: the system uses a port again. */
  #ofPort = new Map();
  #number = 0;
  #nextId = 0;
  #calls = new Map();
  #nextCall = 0;
  #isOver = false;
  #mistakes = [];
  #wake = () => undefined;
  #counts = { connections: 0, requests: 0, replies: 0, errorReplies: 0, strikes: 0, resizes: 0 };

  constructor(run, plan, random) {
    this.#run = run;
    this.#plan = plan;
    this.#random = random;
    this.#child = new Child(run, '../soak/server.mjs', [JSON.stringify(plan)], 'inherit', 'ipc');
    this.#child.process.on('message', (message) => this.#hear(message));
    this.#child.ended.then(() => this.#died());
  }

  /** Runs it; returns what it counted and what was wrong. */
  async run(ms) {
    try {
      await this.#until(() => this.port > 0 || this.#mistakes.length > 0, 'the port');
      if (this.port === 0) throw new Error('it did not serve');
      const disturbers = [this.#strikeNowAndThen(), this.#resizeNowAndThen(), this.#watch()];
      for (let i = 0; i < this.#plan.connections; i++) this.#open();
      await this.#until(() => this.#mistakes.length > 0, null, ms);
      this.#isOver = true;
      this.#wake();
      await within(Promise.all(disturbers), 'the last resize');
      if (this.#mistakes.length === 0) await this.#end();
    } catch (error) {
      this.#mistakes.push(error.message, await this.#look());
    } finally {
      for (const client of this.#clients) client.stop();
      this.#child.kill();
    }
    if (this.#child.stderr !== '') this.#mistakes.push(`stderr: ${this.#child.stderr}`);
    return { counts: this.#counts, mistakes: this.#mistakes };
  }

  // What clients ask of their phase.

  connected(client) {
    const others = this.#ofPort.get(client.port) ?? [];
    this.#ofPort.set(client.port, [...others, client]);
  }

  drawId() {
    this.#counts.requests++;
    return this.#nextId++;
  }

  /** Whether requests may fail so. How many were lost is compared at the end. */
  explains(code) {
    return code !== 'ERR_ODRADEK_HANDLER_TIMEOUT' || this.#plan.handlerTimeoutMs > 0;
  }

  gone(client) {
    this.#settle(client);
    if (!this.#isOver) this.#open();
    this.#wake();
  }

  mistaken() {
    this.#wake();
  }

  #open() {
    if (this.#number >= mostConnections || this.#nextId > mostRequests / 2) return;
    const number = this.#number++;
    this.#counts.connections++;
    this.#clients.add(new Client(this, number, new Random(this.#random.below(2 ** 31), number)));
  }

  /** Both sides have ended: the end is judged. A server may not know of one that was reset. */
  #settle(client) {
    if (!client.isGone || (client.reason === null && !client.wasReset)) return;
    this.#judge(client);
  }

  #judge(client) {
    if (!this.#clients.delete(client)) return;
    if (client.reason === null) this.#claimReason(client);
    client.judge();
    this.#counts.replies += client.replies;
    this.#counts.errorReplies += client.errorReplies;
    this.#mistakes.push(...client.mistakes);
  }

  // What the server tells.

  #hear(message) {
    if (message.event === 'port') this.port = message.port;
    if (message.event === 'closed') this.#closed(message);
    this.#calls.get(message.number)?.(message);
    this.#wake();
  }

  #closed({ port, reason }) {
    const client = this.#ofPort.get(port)?.find((other) => other.reason === null);
    // It was reset before the server had accepted it, and has no address.
    if (client === undefined) return;
    client.reason = reason;
    this.#settle(client);
  }

  /** One before it on its port was reset before the server accepted it, and got this one's reason. */
  #claimReason(client) {
    const others = this.#ofPort.get(client.port) ?? [];
    const before = others.slice(0, Math.max(0, others.indexOf(client)));
    const holder = before.findLast((other) => other.wasReset && other.reason !== null);
    if (holder === undefined) return;
    client.reason = holder.reason;
    holder.reason = null;
  }

  #died() {
    for (const settle of this.#calls.values()) settle({ error: 'the server is gone' });
    if (!this.isClosing) this.#mistakes.push('the server has ended by itself');
    this.#wake();
  }

  async #call(command, argument) {
    const number = this.#nextCall++;
    const answered = new Promise((resolve) => this.#calls.set(number, resolve));
    this.#child.process.send({ number, command, argument }, () => undefined);
    const { value, error } = await within(answered, command);
    this.#calls.delete(number);
    if (error !== undefined) throw new Error(`${command}(${argument}): ${error}`);
    return value;
  }

  /** Waits for a condition, by default as long as anything may take; or for `ms`, and no longer. */
  async #until(condition, what, ms = patienceMs) {
    const deadline = performance.now() + ms;
    while (!condition()) {
      const left = deadline - performance.now();
      if (left <= 0) {
        if (what === null) return;
        throw new Error(`${what} did not come within ${patienceMs} ms`);
      }
      let timer;
      await new Promise((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
  }

  // What happens to the server and its connections.

  async #nowAndThen(everyMs, act) {
    while (!this.#isOver) {
      await sleep(this.#random.below(2 * everyMs));
      if (this.#isOver) return;
      try {
        await act();
      } catch (error) {
        this.#mistakes.push(error.message);
        this.#wake();
        return;
      }
    }
  }

  #strikeNowAndThen() {
    return this.#nowAndThen(this.#plan.strikeEveryMs, () => {
      const clients = [...this.#clients];
      if (clients.length === 0 || this.#counts.strikes === mostStrikes) return;
      const isTimed = this.#plan.handlerTimeoutMs > 0 && this.#random.below(3) === 0;
      this.#counts.strikes++;
      this.#random.pick(clients).strike(this.#random.pick(strikes[isTimed ? 'staying' : 'ending']));
    });
  }

  #resizeNowAndThen() {
    return this.#nowAndThen(this.#plan.resizeEveryMs, async () => {
      const isOfHandlers = this.#random.below(2) === 0;
      this.#counts.resizes++;
      if (isOfHandlers) await this.#call('resizeHandlerPool', 1 + this.#random.below(4));
      else if (this.#plan.networkThreads > 0) {
        await this.#call('resizeNetworkThreads', 1 + this.#random.below(4));
      }
    });
  }

  /** Looks at the metrics, and for requests that nobody answers. */
  #watch() {
    return this.#nowAndThen(100, async () => {
      const wrong = wrongIn(await this.#call('metrics'));
      if (wrong.length > 0) throw new Error(`metrics: ${wrong.join(' ')}`);
      const oldest = performance.now() - stallMs;
      const stalled = [...this.#clients].filter((c) => c.isWaiting && c.changedAt < oldest);
      if (stalled.length > 0) throw new Error(`stalled: ${stalled[0]}\n${await this.#look()}`);
    });
  }

  async #look() {
    try {
      return `metrics: ${JSON.stringify(await this.#call('metrics'))}`;
    } catch (error) {
      return error.message;
    }
  }

  // The end.

  async #end() {
    if (!this.#plan.isCut) {
      for (const client of this.#clients) client.finish();
      await this.#until(() => this.#clients.size === 0, 'the end of all connections');
      await this.#isZero();
    }
    this.isClosing = true;
    this.#checkClosed(await this.#call('close', closeMs));
    await this.#until(() => [...this.#clients].every((c) => c.isGone), 'the ends of connections');
    for (const client of [...this.#clients]) this.#judge(client);
    const { code, signal } = await within(this.#child.ended, 'the end of the process');
    if (code !== 0) this.#mistakes.push(`the server ended by code ${code}, signal ${signal}`);
  }

  /** The server may see the last resets a moment later, and late handlers end in their own time. */
  async #isZero() {
    const deadline = performance.now() + graceMs;
    let wrong = notZero(await this.#call('metrics'));
    while (wrong.length > 0 && performance.now() < deadline) {
      await sleep(20);
      wrong = notZero(await this.#call('metrics'));
    }
    if (wrong.length > 0) this.#mistakes.push(`all have left; metrics: ${wrong.join(' ')}`);
  }

  #checkClosed({ tookMs, peakBytes: peak, told, mistakes, metrics, left }) {
    this.#mistakes.push(...mistakes);
    if (tookMs > closeMs + graceMs) this.#mistakes.push(`close() took ${tookMs} ms`);
    const wrong = [...wrongIn(metrics), ...notZero(metrics)];
    if (wrong.length > 0) this.#mistakes.push(`closed; metrics: ${wrong.join(' ')}`);
    if (left.length > 0) this.#mistakes.push(`threads are left: ${left.join(' ')}`);
    if (peak > peakBytes && !this.#run.isSanitized) {
      this.#mistakes.push(`the server took ${peak} bytes`);
    }
    if (told.lost > told.started) {
      this.#mistakes.push(`${told.lost} requests were lost of ${told.started} begun`);
    }
    Object.assign(this.#counts, { losses: told.losses, lost: told.lost, late: told.timedOut });
    this.#counts.peakMb = Math.round(peak / 2 ** 20);
  }
}

/** Counters that no server may have. */
function wrongIn(metrics) {
  const isWrong = (value) => typeof value === 'number' && !(value >= 0);
  const own = Object.entries(metrics).filter(([, value]) => isWrong(value));
  const parts = [...metrics.processors, ...metrics.handlerThreads].flatMap(Object.entries);
  return [...own, ...parts.filter(([, value]) => isWrong(value))].map(
    ([name, v]) => `${name} ${v}`,
  );
}

/** What must be nothing where no connection is left. */
function notZero(metrics) {
  const names = ['connections', 'requestQueueSize', 'pendingRequests', 'requestsInFlight'];
  const threads = metrics.handlerThreads.filter(({ inFlight }) => inFlight !== 0);
  return [
    ...names.filter((name) => metrics[name] !== 0).map((name) => `${name} ${metrics[name]}`),
    ...threads.map(({ thread, inFlight }) => `thread ${thread} inFlight ${inFlight}`),
  ];
}
