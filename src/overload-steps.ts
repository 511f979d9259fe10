import type { Limits } from './limits.js';
import type { OverloadLimits } from './overload-limits.js';
import type { Timeouts } from './timeouts.js';

/** What is done under overload; each stands for those before it, too. */
const steps = [
  'shortenTimeouts',
  'stopAccepting',
  'refuseRequests',
] as const satisfies readonly OverloadStep[];

type Step = Exclude<OverloadStep, 'none'>;

/** How far the server has gone: see `overload` of the options. */
export type OverloadStep = 'none' | 'shortenTimeouts' | 'stopAccepting' | 'refuseRequests';

/** The event `overload`: another step is in force. */
export interface OverloadChange {
  /** The last one that is in force now. */
  readonly step: OverloadStep;
  /** That of before. */
  readonly previousStep: OverloadStep;
  /** For how long the longest waiting has waited, in milliseconds. */
  readonly longestWaitMs: number;
}

export interface OverloadEvents {
  /** For how long the longest waiting has waited now, in milliseconds; 0: nobody waits. */
  longestWaitMs(): number;
  /** Others are in force. */
  apply(): void;
  /** Comes after it. */
  changed(change: OverloadChange): void;
}

/** Envoy's refresh_interval: overload is a matter of seconds. */
const refreshMs = 1000;

/** Waits for an attacker are over ten times as soon, and no client that is at work notices. */
const shortening = 10;

/**
 * Envoy's overload manager: decides by the longest wait which steps are in force. A wait counts when two
 * looks in a row have found it, as CoDel takes the least delay of an interval: one look alone may have
 * come when the event loop had been blocked, before it could take what waits.
 */
export class OverloadSteps {
  readonly enteredTotal: Record<Step, number> = {
    shortenTimeouts: 0,
    stopAccepting: 0,
    refuseRequests: 0,
  };
  /** Those that are in force, in their order. */
  inForce: ReadonlySet<Step> = new Set();
  readonly #events: OverloadEvents;
  #limits: OverloadLimits;
  /** What the last look has found, and that and the one before it. */
  #lastMs = 0;
  #pressureMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isNeeded = false;
  #isOver = false;

  constructor(limits: OverloadLimits, events: OverloadEvents) {
    this.#limits = limits;
    this.#events = events;
  }

  /** The last one that is in force. */
  get step(): OverloadStep {
    return steps.findLast((step) => this.inForce.has(step)) ?? 'none';
  }

  has(step: Step): boolean {
    return this.inForce.has(step);
  }

  /** There are connections. */
  start(): void {
    if (this.#isNeeded || this.#isOver) return;
    this.#isNeeded = true;
    this.#setTimer();
  }

  /** There are none, and nobody waits. */
  stop(): void {
    this.#isNeeded = false;
    this.#setTimer();
    this.#lastMs = 0;
    this.#judge(0, 0);
  }

  /** The server ends, and refuses nothing that it has received. */
  end(): void {
    this.#isOver = true;
    this.stop();
  }

  update(limits: OverloadLimits): void {
    this.#limits = limits;
    this.#setTimer();
    this.#judge(this.#pressureMs, this.#lastMs);
  }

  #setTimer(): void {
    const isLooking = this.#isNeeded && steps.some((step) => this.#timeOf(step) !== Infinity);
    if (isLooking) {
      this.#timer ??= setInterval(() => this.look(), refreshMs).unref();
    } else {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /** Called by its timer. */
  look(): void {
    const waitedMs = this.#events.longestWaitMs();
    const pressureMs = Math.min(waitedMs, this.#lastMs);
    this.#lastMs = waitedMs;
    this.#judge(pressureMs, waitedMs);
  }

  #timeOf(step: Step): number {
    return this.#limits[`${step}Ms`];
  }

  #judge(pressureMs: number, longestWaitMs: number): void {
    this.#pressureMs = pressureMs;
    const previousStep = this.step;
    const before = this.inForce;
    const now = new Set(steps.filter((step) => pressureMs >= this.#timeOf(step)));
    const entered = [...now].filter((step) => !before.has(step));
    if (entered.length === 0 && now.size === before.size) return;
    this.inForce = now;
    for (const step of entered) this.enteredTotal[step]++;
    this.#events.apply();
    const { step } = this;
    if (step !== previousStep) this.#events.changed({ step, previousStep, longestWaitMs });
  }

  /** The limits as they are in force. */
  applyTo(limits: Limits): Limits {
    const { timeouts, connections } = limits;
    return {
      ...limits,
      timeouts: this.has('shortenTimeouts') ? shortened(timeouts) : timeouts,
      connections: { ...connections, isStopped: this.has('stopAccepting') },
    };
  }
}

/** 0 stays for ever. */
function shortened(timeouts: Timeouts): Timeouts {
  const tenth = (ms: number): number => Math.ceil(ms / shortening);
  return {
    ...timeouts,
    connectionsMaxIdleMs: tenth(timeouts.connectionsMaxIdleMs),
    frameTimeoutMs: tenth(timeouts.frameTimeoutMs),
    writeTimeoutMs: tenth(timeouts.writeTimeoutMs),
  };
}
