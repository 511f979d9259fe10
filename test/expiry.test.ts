import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CloseCode } from '../src/close-reason.js';
import { type Awaited, type Expirable, Expiry } from '../src/expiry.js';
import { checkTimeouts, type TimeoutOptions } from '../src/timeouts.js';

const off = { connectionsMaxIdleMs: 0, frameTimeoutMs: 0, writeTimeoutMs: 0 };

class Peer implements Expirable {
  since = 0;
  ended: CloseCode | null = null;
  wait: Awaited | null = 'request';
  heldBytes = 0;
  unreadMs = 0;
  awaited(): Awaited | null {
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
    slow.wait = 'restOfFrame';
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

  it('gives a frame the grace, what its bytes are worth, and time in which it was not read', () => {
    const { join } = start({ minReadBytesPerSecond: 1000, minThroughputGraceMs: 160 });
    const peers = [0, 1000, 1000].map((heldBytes) => Object.assign(join(), { heldBytes }));
    for (const peer of peers) peer.wait = 'restOfFrame';
    const [empty, held, unread] = peers as [Peer, Peer, Peer];
    unread.unreadMs = 500;
    pass(160);
    expect(empty.ended).toBeNull();
    pass(21);
    expect(empty.ended).toBe('READ_TOO_SLOW');
    pass(979);
    expect(held.ended).toBeNull();
    pass(21);
    expect(held.ended).toBe('READ_TOO_SLOW');
    pass(479);
    expect(unread.ended).toBeNull();
    pass(21);
    expect(unread.ended).toBe('READ_TOO_SLOW');
  });

  it('lets what a client takes pay for time that has passed, and for no more', () => {
    const { expiry, join } = start({ minWriteBytesPerSecond: 1000, minThroughputGraceMs: 160 });
    const peer = join();
    peer.wait = 'roomToWrite';
    for (let i = 0; i < 5; i++) {
      pass(100);
      peer.since = expiry.paid(peer.since, 90);
      expect(peer.since).toBe((i + 1) * 90);
    }
    expect(peer.ended).toBeNull();
    peer.since = expiry.paid(peer.since, 1e6);
    expect(peer.since).toBe(expiry.now);
    pass(160);
    expect(peer.ended).toBeNull();
    pass(21);
    expect(peer.ended).toBe('WRITE_TOO_SLOW');
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
