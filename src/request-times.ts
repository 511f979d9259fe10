import { bucketOf, histogramLength, TimeHistogram } from './time-histogram.js';

/**
 * Kafka's RequestMetrics: how long requests take, and where. See docs/metrics.md for where each time
 * begins and ends, and which requests it counts.
 */
export interface RequestTimes {
  /** RequestQueueTimeMs: from the complete frame until its handler begins. */
  readonly requestQueue: TimeSummary;
  /** LocalTimeMs: until the handler returns. */
  readonly local: TimeSummary;
  /** RemoteTimeMs: until the promise that it returned has settled; of asynchronous handlers alone. */
  readonly remote: TimeSummary;
  /** ThrottleTimeMs: what `request.throttle(ms)` asked for, where it was called. */
  readonly throttle: TimeSummary;
  /** ResponseQueueTimeMs: from the reply until its processor takes it up. */
  readonly responseQueue: TimeSummary;
  /** ResponseSendTimeMs: until the kernel has its last byte. */
  readonly responseSend: TimeSummary;
  /** TotalTimeMs: from the complete frame until the kernel has the reply's last byte. */
  readonly total: TimeSummary;
}

/**
 * A histogram as plain data, since `start()`. Percentiles are never below what the times were, and at
 * most a sixteenth, or one microsecond, above; the sum and the longest are exact.
 */
export interface TimeSummary {
  /** How many there were. */
  readonly count: number;
  /** All of them together. */
  readonly sumMs: number;
  /** The longest. */
  readonly maxMs: number;
  /** Half of them took no longer; below likewise. 0 where there were none. */
  readonly p50Ms: number;
  /** 95 of 100. */
  readonly p95Ms: number;
  /** 99 of 100. */
  readonly p99Ms: number;
  /** 999 of 1000. */
  readonly p999Ms: number;
  /** As Prometheus has them, with the same bounds always. */
  readonly buckets: readonly TimeBucket[];
}

/** How many took less than so long. */
export interface TimeBucket {
  /** 0.016 to 67108.864, each twice the one before; then `Infinity`. */
  readonly leMs: number;
  /** Those of the buckets before included. */
  readonly count: number;
}

/** Bounds of {@link TimeSummary.buckets} in microseconds, but for the last: 16 us, doubled to 67 s. */
const bounds = Array.from({ length: 23 }, (_, i) => 2 ** (4 + i));

function summaryOf(times: TimeHistogram): TimeSummary {
  const { count, sumMs, maxMs } = times;
  return {
    count,
    sumMs,
    maxMs,
    p50Ms: times.percentile(0.5),
    p95Ms: times.percentile(0.95),
    p99Ms: times.percentile(0.99),
    p999Ms: times.percentile(0.999),
    buckets: [
      ...bounds.map((us) => ({ leMs: us / 1000, count: times.countBefore(bucketOf(us)) })),
      { leMs: Infinity, count },
    ],
  };
}

/** What is recorded where handlers run, by one thread. */
export class HandlerTimes {
  static readonly bytes = 3 * histogramLength * Float64Array.BYTES_PER_ELEMENT;

  readonly requestQueue: TimeHistogram;
  readonly local: TimeHistogram;
  readonly remote: TimeHistogram;

  /** @param memory {@link HandlerTimes.bytes} long; shared where another thread reads or records */
  constructor(memory: ArrayBufferLike = new ArrayBuffer(HandlerTimes.bytes)) {
    const [requestQueue, local, remote] = TimeHistogram.over(memory, 3);
    this.requestQueue = requestQueue as TimeHistogram;
    this.local = local as TimeHistogram;
    this.remote = remote as TimeHistogram;
  }

  add(other: HandlerTimes): void {
    this.requestQueue.add(other.requestQueue);
    this.local.add(other.local);
    this.remote.add(other.remote);
  }
}

/** What is recorded where bytes come and go: in the order of the core's ProcessorTime. */
export class TransportTimes {
  static readonly count = 4;

  readonly memory: Float64Array;
  readonly throttle: TimeHistogram;
  readonly responseQueue: TimeHistogram;
  readonly responseSend: TimeHistogram;
  readonly total: TimeHistogram;

  constructor() {
    this.memory = new Float64Array(TransportTimes.count * histogramLength);
    const [throttle, queue, send, total] = TimeHistogram.over(this.memory.buffer, 4);
    this.throttle = throttle as TimeHistogram;
    this.responseQueue = queue as TimeHistogram;
    this.responseSend = send as TimeHistogram;
    this.total = total as TimeHistogram;
  }
}

export function requestTimesOf(handlers: HandlerTimes, transport: TransportTimes): RequestTimes {
  return {
    requestQueue: summaryOf(handlers.requestQueue),
    local: summaryOf(handlers.local),
    remote: summaryOf(handlers.remote),
    throttle: summaryOf(transport.throttle),
    responseQueue: summaryOf(transport.responseQueue),
    responseSend: summaryOf(transport.responseSend),
    total: summaryOf(transport.total),
  };
}
