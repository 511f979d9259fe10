// What server.metrics() says, as Prometheus reads it:
// https://prometheus.io/docs/instrumenting/exposition_formats/
import type { Metrics, RequestTimes, TimeSummary } from 'odradek';

/** Numbers of one server, listener, processor or thread. */
interface Source {
  /** `{listener="PLAINTEXT"}`; empty for the server. */
  readonly labels: string;
  readonly counts: object;
}

/** `...Total` is a counter, and so are these; all others are gauges. */
const counters = new Set([
  ...['turns', 'readCalls', 'writeCalls', 'pollCalls', 'wakeCalls', 'idleMs', 'restarts'],
  ...['memoryPoolDepletedMs', 'connectionAcceptThrottleMs', 'ipConnectionAcceptThrottleMs'],
]);

export function prometheusText(metrics: Metrics): string {
  const { transport, overloadStep, overloadStepsTotal, requestTimes, ...others } = metrics;
  const { listeners, processors, handlerThreads, ...server } = others;
  const lines = [
    ...families('', [{ labels: labels('transport', transport), counts: { transport: 1 } }]),
    ...families('', [{ labels: '', counts: server }]),
    ...families('', [{ labels: labels('step', overloadStep), counts: { overloadStep: 1 } }]),
    ...families(
      '',
      Object.entries(overloadStepsTotal).map(([step, count]) => ({
        labels: labels('step', step),
        counts: { overloadStepsTotal: count },
      })),
    ),
    ...histograms(requestTimes),
    ...families(
      'listener',
      listeners.map(({ name, ...counts }) => ({ labels: labels('listener', name), counts })),
    ),
    ...families(
      'processor',
      processors.map(({ id, ...counts }) => ({ labels: labels('processor', id), counts })),
    ),
    ...families(
      'handlerThread',
      handlerThreads.map(({ thread, ...counts }) => ({ labels: labels('thread', thread), counts })),
    ),
  ];
  return `${lines.join('\n')}\n`;
}

/** One metric after the other, each with what all sources say of it. */
function families(prefix: string, sources: readonly Source[]): string[] {
  const fields = Object.entries(sources[0]?.counts ?? {});
  return fields.flatMap(([field, value]) => {
    if (typeof value !== 'number') return [];
    const isCounter = field.endsWith('Total') || counters.has(field);
    const { name, scale } = nameOf(prefix, field);
    const full = isCounter ? `${name}_total` : name;
    return [
      `# TYPE ${full} ${isCounter ? 'counter' : 'gauge'}`,
      ...sources.map(({ labels, counts }) => {
        const count = (counts as Record<string, number>)[field] as number;
        return `${full}${labels} ${text(count * scale)}`;
      }),
    ];
  });
}

/** `odradek_request_times_seconds{time="total"}` and the others, as one histogram. */
function histograms(times: RequestTimes): string[] {
  const name = 'odradek_request_times_seconds';
  const lines = Object.entries<TimeSummary>({ ...times }).flatMap(
    ([time, { buckets, sumMs, count }]) => [
      ...buckets.map(
        (bucket) =>
          `${name}_bucket{time="${time}",le="${text(bucket.leMs / 1000)}"} ${bucket.count}`,
      ),
      `${name}_sum{time="${time}"} ${sumMs / 1000}`,
      `${name}_count{time="${time}"} ${count}`,
    ],
  );
  return [`# TYPE ${name} histogram`, ...lines];
}

/** Prometheus counts seconds, and ratios from 0 to 1. */
function nameOf(prefix: string, field: string): { name: string; scale: number } {
  const [, stem = field, unit] = /^(.*?)(Ms|Percent|Total)?$/.exec(field) ?? [];
  const suffix = unit === 'Ms' ? 'Seconds' : unit === 'Percent' ? 'Ratio' : '';
  const words = `odradek${capitalized(prefix)}${capitalized(stem)}${suffix}`;
  return {
    name: words.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    scale: unit === 'Ms' ? 0.001 : 1,
  };
}

function capitalized(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function labels(name: string, value: string | number): string {
  const escaped = String(value).replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n');
  return `{${name}="${escaped}"}`;
}

function text(value: number): string {
  return value === Infinity ? '+Inf' : value === -Infinity ? '-Inf' : String(value);
}
