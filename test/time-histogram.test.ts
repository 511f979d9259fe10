import { describe, expect, it } from 'vitest';
import {
  bucketOf,
  endOf,
  histogramBuckets,
  histogramLength,
  TimeHistogram,
} from '../src/time-histogram.js';
import { Dice } from './support/dice.js';

describe('the buckets of a histogram of times', () => {
  // native/test/time_histogram_test.cc has the same.
  it('are those of the core', () => {
    const known: [number, number][] = [
      [0, 0],
      [1, 1],
      [31, 31],
      [32, 32],
      [33, 32],
      [34, 33],
      [63, 47],
      [64, 48],
      [1000, 111],
      [1024, 112],
      [65_535, 207],
      [1_000_000, 270],
      [60_000_000, 364],
      [3_600_000_000, 458],
      [2 ** 32 - 1, 463],
      [2 ** 60, 463],
    ];
    for (const [us, bucket] of known) expect([us, bucketOf(us)]).toEqual([us, bucket]);
    expect(histogramBuckets).toBe(464);
  });

  it('follow each other, and are a sixteenth of their times wide', () => {
    let begin = 0;
    for (let bucket = 0; bucket < histogramBuckets; bucket++) {
      const end = endOf(bucket);
      expect(bucketOf(begin)).toBe(bucket);
      expect(bucketOf(end - 0.001)).toBe(bucket);
      expect(end - begin).toBeLessThanOrEqual(Math.max(1, begin / 16));
      begin = end;
    }
    expect(begin).toBe(2 ** 32);
  });

  it.each([[-1], [Number.NaN], [0], [0.4]])('have %d in the first', (us) => {
    expect(bucketOf(us)).toBe(0);
  });
});

describe('a histogram of times', () => {
  it('says nothing of nothing', () => {
    const times = new TimeHistogram();
    expect([times.count, times.sumMs, times.maxMs, times.percentile(0.99)]).toEqual([0, 0, 0, 0]);
  });

  it('counts what was recorded together', () => {
    const times = new TimeHistogram();
    times.record(2, 3);
    times.record(-1, 1);
    expect([times.count, times.sumMs, times.maxMs]).toEqual([4, 6, 2]);
    expect(times.percentile(0.25)).toBe(0.001);
    expect(times.percentile(0.5)).toBe(2);
  });

  it.each([[1], [2], [3]])(
    'is never below the exact percentile, and a sixteenth above (%i)',
    (seed) => {
      const dice = new Dice(seed);
      const next = () => dice.roll(1_000_000) / 1_000_000;
      const times = new TimeHistogram();
      // From a tenth of a microsecond to an hour, each power of two as likely.
      const values = Array.from({ length: 5000 }, () => 2 ** (next() * 35) * 1e-4);
      for (const value of values) times.record(value, 1);
      values.sort((a, b) => a - b);
      for (const share of [0.001, 0.5, 0.95, 0.99, 0.999, 1]) {
        const exact = values[Math.ceil(share * values.length) - 1] as number;
        const said = times.percentile(share);
        expect(said).toBeGreaterThanOrEqual(exact);
        expect(said).toBeLessThanOrEqual(Math.max(exact + 0.001, exact * (1 + 1 / 16)));
      }
      expect(times.maxMs).toBe(values.at(-1));
      const sum = values.reduce((total, value) => total + value, 0);
      expect(times.sumMs / sum).toBeCloseTo(1, 9);
    },
  );

  it('is read by whoever has its memory, and adds up', () => {
    const bytes = 2 * histogramLength * Float64Array.BYTES_PER_ELEMENT;
    const memory = new SharedArrayBuffer(bytes);
    const [first, second] = TimeHistogram.over(memory, 2) as [TimeHistogram, TimeHistogram];
    first.record(5, 1);
    second.record(7, 2);
    const [read] = TimeHistogram.over(memory, 2) as [TimeHistogram];
    expect([read.count, read.maxMs]).toEqual([1, 5]);
    const sum = new TimeHistogram();
    sum.add(first);
    sum.add(second);
    expect([sum.count, sum.sumMs, sum.maxMs]).toEqual([3, 19, 7]);
    expect(sum.countBefore(bucketOf(6000))).toBe(1);
  });
});
