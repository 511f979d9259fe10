import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CloseCode } from '../src/close-reason.js';
import { type Expirable, Expiry, type Wait } from '../src/expiry.js';
import { checkTimeouts, type TimeoutOptions } from '../src/timeouts.js';

const off = { connectionsMaxIdleMs: 0, frameTimeoutMs: 0, writeTimeoutMs: 0 };
const idle: Wait = { limit: 'connectionsMaxIdleMs', code: 'IDLE_TIMEOUT' };

class Peer implements Expirable {
  since = 0;
  ended: CloseCode | null = null;
  wait: Wait | null = idle;
  awaited(): Wait | null {
    return this.wait;
  }
  expire(code: CloseCode): void {
    this.ended = code;
  }
}

/** Of the world, which goes on while the event loop is blocked. */
let now = 0;

/** The event loop is at work. */
function pass(ms: number): void {
  for (let left = ms; left > 0; left--) {
    now++;
    vi.advanceTimersByTime(1);
  }
}

function start(limits: TimeoutOptions) {
  const peers = new Set<Peer>();
  const expiry = new Expiry(checkTimeouts({ ...off, ...limits }), peers, () => now);
  expiry.start();
  const join = () => {
    const peer = new Peer();
    peer.since = expiry.now;
    peers.add(peer);
    return peer;
  };
  return { expiry, join };
}

describe('Expiry', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setImmediate'] });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it('expires who is waited for too long, never early and two sixteenths late at most', () => {
    const { join } = start({ connectionsMaxIdleMs: 1600 });
    pass(50);
    const peer = join();
    pass(1600);
    expect(peer.ended).toBeNull();
    pass(200);
    expect(peer.ended).toBe('IDLE_TIMEOUT');
  });

  it('leaves alone who is not waited for, or by a limit that is off', () => {
    const { join } = start({ connectionsMaxIdleMs: 100 });
    const busy = join();
    busy.wait = null;
    const slow = join();
    slow.wait = { limit: 'frameTimeoutMs', code: 'FRAME_TIMEOUT' };
    pass(10_000);
    expect([busy.ended, slow.ended]).toEqual([null, null]);
  });

  it('does not count the time in which the event loop was blocked', () => {
    const { join } = start({ connectionsMaxIdleMs: 1600 });
    const peer = join();
    pass(1000);
    now += 60_000;
    pass(300);
    expect(peer.ended).toBeNull();
    pass(600);
    expect(peer.ended).toBe('IDLE_TIMEOUT');
  });

  it('has no timer without a time-out, and none once it is stopped', () => {
    start({});
    expect(vi.getTimerCount()).toBe(0);
    const { expiry } = start({ writeTimeoutMs: 100 });
    expect(vi.getTimerCount()).toBe(1);
    expiry.stop();
    expect(vi.getTimerCount()).toBe(0);
  });
});
