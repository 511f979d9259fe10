import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HandlerTiming } from '../src/handler-pool/handler-timing.js';
import type { ServerRequest } from '../src/request.js';
import { HandlerTimes } from '../src/request-times.js';

/** A request, as far as its times go. */
function request(receivedAt: number, connection: object): ServerRequest {
  return { receivedAt, connection } as unknown as ServerRequest;
}

describe('the timing of handlers', () => {
  let now = 0;
  let reads = 0;
  let told: number[] = [];
  let times = new HandlerTimes();
  let timing = new HandlerTiming(times, (at) => told.push(at));
  const one = {};
  const other = {};

  beforeEach(() => {
    now = 1000;
    reads = 0;
    told = [];
    times = new HandlerTimes();
    timing = new HandlerTiming(times, (at) => told.push(at));
    vi.spyOn(performance, 'now').mockImplementation(() => {
      reads++;
      return now;
    });
  });

  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** A handler that takes so long, and answers at once. */
  function run(ms: number, connection: object, receivedAt = 990): void {
    timing.begin(request(receivedAt, connection));
    now += ms;
  }

  it('reads the clock twice for as many as are timed together', () => {
    for (let i = 0; i < 16; i++) run(0.0078125, one);
    timing.pause();
    expect(reads).toBe(2);
    expect(times.local.count).toBe(16);
    expect(times.local.sumMs).toBe(0.125);
    expect(times.local.maxMs).toBe(0.0078125);
    // Each has waited for those before it.
    expect(times.requestQueue.count).toBe(16);
    expect(times.requestQueue.sumMs).toBe(16 * 10 + ((15 * 16) / 2) * 0.0078125);
    expect(told.at(-1)).toBe(1000.125);
  });

  it('times no more than 16 together', () => {
    for (let i = 0; i < 17; i++) run(0.01, one);
    timing.pause();
    expect(reads).toBe(3);
    expect(times.local.count).toBe(17);
  });

  it('times each alone where they are slow, from the second stretch on', () => {
    run(5, one);
    run(1, one);
    timing.pause();
    expect(times.local.count).toBe(2);
    expect(times.local.maxMs).toBe(3);
    run(5, one);
    run(1, one);
    timing.pause();
    expect(times.local.count).toBe(4);
    expect(times.local.sumMs).toBe(12);
    expect(times.local.maxMs).toBe(5);
    // The last one was slow, too.
    run(0.01, one);
    run(7, one);
    timing.pause();
    expect(times.local.maxMs).toBe(7);
  });

  it('times those of another connection, or that came at another time, for themselves', () => {
    run(1, one);
    run(2, other);
    run(4, other, 1001);
    timing.pause();
    expect(reads).toBe(4);
    expect(times.local.maxMs).toBe(4);
    expect(times.local.sumMs).toBe(7);
    expect(times.requestQueue.sumMs).toBe(10 + 11 + 2);
  });

  it('counts nothing that runs in a pause', () => {
    run(1, one);
    timing.pause();
    now += 100;
    run(2, one);
    timing.pause();
    expect(times.local.sumMs).toBe(3);
    timing.pause();
    expect(times.local.count).toBe(2);
  });

  it('goes on from a moment that was read for another reason', () => {
    now = 1500;
    expect(timing.read()).toBe(1500);
    run(3, one);
    expect(timing.read()).toBe(1503);
    expect(reads).toBe(2);
    expect(times.requestQueue.sumMs).toBe(510);
    expect(times.local.sumMs).toBe(3);
    expect(told).toEqual([1500, 1503]);
  });
});
