import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SharedClock } from '../src/handler-pool/shared-clock.js';

describe('a clock that many moments share', () => {
  let now = 0;
  let reads = 0;
  let clock = new SharedClock();

  beforeEach(() => {
    now = 1000;
    reads = 0;
    clock = new SharedClock();
    vi.spyOn(performance, 'now').mockImplementation(() => {
      reads++;
      return now;
    });
  });

  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** As many moments, of which each takes so long; what the clock said at each. */
  function moments(count: number, ms = 0): number[] {
    return Array.from({ length: count }, () => {
      now += ms;
      return clock.now();
    });
  }

  /** Many, and quick: those that follow may share readings. */
  function warm(): void {
    moments(64);
    clock.rest();
    reads = 0;
  }

  it('is read for each at first, and where they are few', () => {
    moments(100);
    expect(reads).toBe(100);
    clock.rest();
    for (let i = 0; i < 3; i++) {
      moments(16);
      clock.rest();
      reads = 0;
    }
    moments(63);
    expect(reads).toBe(63);
  });

  it('is read once for 16 quick ones where they are many', () => {
    warm();
    const said = moments(17, 0.001);
    expect(reads).toBe(2);
    expect(new Set(said.slice(0, 16))).toEqual(new Set([said[0]]));
    // Those that shared a reading come to the same in sum.
    expect(said[16]).toBe(now);
  });

  it('is read for each for a while after those that were not quick', () => {
    warm();
    moments(15, 0.001);
    // The sixteenth takes a second, which shows at the seventeenth.
    now += 1000;
    moments(2);
    expect(reads).toBe(2);
    moments(63);
    expect(reads).toBe(65);
    moments(16);
    expect(reads).toBe(66);
  });

  it('goes on sharing after a rest, however long, and says no old time', () => {
    warm();
    moments(64);
    clock.rest();
    now += 5000;
    reads = 0;
    expect(moments(16)).toEqual(Array(16).fill(now));
    expect(reads).toBe(1);
  });

  it('says what time it is on demand, which others share', () => {
    warm();
    moments(3);
    now += 0.01;
    expect(clock.read()).toBe(now);
    now += 0.01;
    expect(clock.now()).toBe(now - 0.01);
  });
});
