/**
 * How long something took, each time it happened: counts in buckets whose width grows with the time,
 * as HdrHistogram's. One thread records, and any reads where the memory is shared; nothing is
 * allocated and nothing locked.
 *
 * A bucket is 1 us wide up to 32 us, and from there at most a sixteenth of its times. The buckets of
 * the core are the same: native/core/time_histogram.h.
 */

/** Buckets for each doubling of the time, as a power of two. */
const bits = 4;
/** 71 minutes: what took longer counts as this, in its bucket alone. */
const mostUs = 0xffff_ffff;

/** The bucket of so many microseconds. */
export function bucketOf(us: number): number {
  if (!(us > 0)) return 0;
  const whole = us < mostUs ? us >>> 0 : mostUs;
  const shift = 31 - bits - Math.clz32(whole);
  return shift > 0 ? (shift << bits) + (whole >>> shift) : whole;
}

export const histogramBuckets = bucketOf(mostUs) + 1;

/** Where a bucket ends and the next one begins, in microseconds. */
export function endOf(bucket: number): number {
  const shift = Math.max(0, (bucket >> bits) - 1);
  return (bucket - (shift << bits) + 1) * 2 ** shift;
}

/** A histogram as doubles: milliseconds, then its buckets. */
export const histogramFields = { sum: 0, max: 1, buckets: 2 } as const;

export const histogramLength = histogramFields.buckets + histogramBuckets;

const { sum, max, buckets } = histogramFields;

export class TimeHistogram {
  readonly #values: Float64Array;

  /** @param values {@link histogramLength} of them, which may be another thread's */
  constructor(values: Float64Array = new Float64Array(histogramLength)) {
    this.#values = values;
  }

  /** Of `count` histograms that lie one behind the other, from the front of `memory`. */
  static over(memory: ArrayBufferLike, count: number): TimeHistogram[] {
    const bytes = histogramLength * Float64Array.BYTES_PER_ELEMENT;
    return Array.from(
      { length: count },
      (_, i) => new TimeHistogram(new Float64Array(memory, i * bytes, histogramLength)),
    );
  }

  /** `count` things that took `ms` each. Below 0 is none: clocks of two threads are compared. */
  record(ms: number, count: number): void {
    const values = this.#values;
    const time = ms > 0 ? ms : 0;
    const at = buckets + bucketOf(time * 1000);
    values[at] = (values[at] as number) + count;
    values[sum] = (values[sum] as number) + time * count;
    if (time > (values[max] as number)) values[max] = time;
  }

  /** Counts what another one has, too. */
  add(other: TimeHistogram): void {
    const values = this.#values;
    const others = other.#values;
    for (let i = 0; i < histogramLength; i++) {
      if (i !== max) values[i] = (values[i] as number) + (others[i] as number);
    }
    values[max] = Math.max(this.maxMs, other.maxMs);
  }

  get sumMs(): number {
    return this.#values[sum] as number;
  }

  get maxMs(): number {
    return this.#values[max] as number;
  }

  /** How many stand in the buckets before this one. */
  countBefore(bucket: number): number {
    let count = 0;
    for (let i = 0; i < bucket; i++) count += this.#values[buckets + i] as number;
    return count;
  }

  get count(): number {
    return this.countBefore(histogramBuckets);
  }

  /** At least as long as this share of the times took, and at most as {@link bucketOf} is wide more. */
  percentile(share: number): number {
    const { count } = this;
    if (count === 0) return 0;
    const rank = Math.max(1, Math.ceil(count * share));
    let seen = 0;
    for (let bucket = 0; bucket < histogramBuckets; bucket++) {
      seen += this.#values[buckets + bucket] as number;
      if (seen >= rank) return Math.min(endOf(bucket) / 1000, this.maxMs);
    }
    return this.maxMs;
  }
}
