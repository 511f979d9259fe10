// A run as Markdown: goals, where we are behind, an overview, and a table for each shape.
import { formatRatio, metricNames, withSpread } from './goals.mjs';

/** Servers that others are measured against, where a shape doesn't name its own. */
const defaultBaselines = ['floor', 'node:net'];
/** Whom to be ahead of, where a shape doesn't say. */
const defaultRivals = ['node:net', 'Bun'];
const none = '';

/** Baselines of a shape: those that run it. */
export function baselinesOf(shape) {
  const baselines = shape.baselines ?? defaultBaselines;
  return baselines.filter((name) => shape.servers.includes(name));
}

function rivalsOf(shape) {
  return (shape.rivals ?? defaultRivals).filter((name) => shape.servers.includes(name));
}

/** What a shape compares. At a given rate all servers answer as many requests. */
function comparedMetrics(shape) {
  const metrics = shape.measure === 'cpu' ? ['cpuUs', 'p99Us'] : ['perSecond', 'cpuUs'];
  return shape.idle === undefined ? metrics : [...metrics, 'rssKbPerIdle'];
}

function isBehind(ratio, metric) {
  return metric === 'perSecond' ? ratio.median < 1 : ratio.median > 1;
}

export function goalsTable(verdicts) {
  const rows = verdicts.map(({ shape, text, status, measured }) => [
    shape,
    text,
    measured,
    status === 'missed' ? '**missed**' : status,
  ]);
  return table(['shape', 'goal', 'measured', ''], rows);
}

/**
 * The pairs in which one of ours does worse than a rival.
 *
 * @returns {string} a list, or a sentence
 */
export function behindList(shapes, ours, summary) {
  const items = shapes.flatMap((shape) =>
    shape.servers
      .filter((server) => ours.has(server))
      .flatMap((server) => {
        const behind = behindOf(shape, server, summary);
        return behind.length === 0 ? [] : [`- ${shape.name}, ${server}: ${behind.join('; ')}`];
      }),
  );
  return items.length === 0 ? 'None.' : items.join('\n');
}

function behindOf(shape, server, summary) {
  return rivalsOf(shape).flatMap((rival) =>
    comparedMetrics(shape).flatMap((metric) => {
      const ratio = summary.ratio(shape.name, server, rival, metric);
      if (ratio === undefined || !isBehind(ratio, metric)) return [];
      return [`${metricNames[metric]} ${formatRatio(ratio)} of ${rival}`];
    }),
  );
}

/** One line for each shape and one of ours: how it stands to the others. */
export function overviewTable(shapes, server, summary) {
  const others = ['floor', 'node:net', 'Bun'];
  const rows = shapes
    .filter((shape) => summary.has(shape.name, server))
    .map((shape) => [
      shape.name,
      shape.cores,
      rate(summary.figure(shape.name, server, 'perSecond')?.median),
      ...others.map((other) => times(summary.ratio(shape.name, server, other, 'perSecond'))),
      number(summary.figure(shape.name, server, 'cpuUs')?.median),
      ...others.map((other) => times(summary.ratio(shape.name, server, other, 'cpuUs'))),
    ]);
  const ofOthers = (of) => others.map((other) => `${of}, x ${other}`);
  const header = [
    'shape',
    'cores',
    'req/s',
    ...ofOthers('req/s'),
    'CPU us/req',
    ...ofOthers('CPU'),
  ];
  return table(header, rows);
}

/** A heading, what the shape is, and its servers. */
export function shapeSection(shape, summary) {
  const servers = shape.servers.filter((server) => summary.has(shape.name, server));
  if (servers.length === 0) return none;
  const columns = columnsOf(shape, servers, summary);
  const rows = servers.map((server) => [server, ...columns.map(({ cell }) => cell(server))]);
  const cores = shape.cores === 1 ? 'one core' : 'both cores, shared with the generator';
  return [
    `### ${shape.name}`,
    '',
    `${capital(shape.about)}. The server had ${cores}. Who runs it: ${shape.why}.`,
    '',
    table(['server', ...columns.map(({ name }) => name)], rows),
  ].join('\n');
}

function columnsOf(shape, servers, summary) {
  const figure = (server, metric) => summary.figure(shape.name, server, metric);
  const median = (metric) => (server) => number(figure(server, metric)?.median);
  const ofBaselines = (metric, of) =>
    baselinesOf(shape).map((baseline) => ({
      name: `${of}, x ${baseline}`,
      cell: (server) => times(summary.ratio(shape.name, server, baseline, metric)),
    }));
  const isKnown = (metric) => servers.some((server) => figure(server, metric) !== undefined);
  const isRated = shape.measure === 'cpu';
  return [
    { name: 'req/s (min-max)', cell: (server) => spread(figure(server, 'perSecond'), rate) },
    ...(isRated ? [] : ofBaselines('perSecond', 'req/s')),
    { name: 'p50 us', cell: median('p50Us') },
    { name: 'p99 us', cell: median('p99Us') },
    { name: 'p99.9 us', cell: median('p999Us') },
    { name: 'CPU us/req (min-max)', cell: (server) => spread(figure(server, 'cpuUs'), number) },
    { name: 'user + system', cell: (server) => userAndSystem(figure, server) },
    ...ofBaselines('cpuUs', 'CPU'),
    { name: 'switches/req', cell: median('switches') },
    { name: 'RSS MB', cell: median('rssMb') },
    { name: 'generator', cell: (server) => percent(figure(server, 'generatorBusy')?.median) },
    ...(isKnown('rssKbPerIdle') ? [{ name: 'KB/idle', cell: median('rssKbPerIdle') }] : []),
  ];
}

function userAndSystem(figure, server) {
  const user = figure(server, 'userUs');
  const system = figure(server, 'systemUs');
  if (user === undefined || system === undefined) return none;
  return `${number(user.median)} + ${number(system.median)}`;
}

export function table(header, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(header), `|${'---|'.repeat(header.length)}`, ...rows.map(line)].join('\n');
}

/** Three significant digits. */
export function number(value) {
  if (value === undefined) return none;
  if (Math.abs(value) >= 100) return String(Math.round(value));
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

/** Requests a second: 1,234 or 56.7 k or 1,234 k. */
export function rate(value) {
  if (value === undefined) return none;
  if (value < 10_000) return Math.round(value).toLocaleString('en-US');
  if (value < 100_000) return `${(value / 1000).toFixed(1)} k`;
  return `${Math.round(value / 1000).toLocaleString('en-US')} k`;
}

function spread(figure, format) {
  return figure === undefined ? none : withSpread(figure, format);
}

function percent(share) {
  return share === undefined ? none : `${Math.round(share * 100)} %`;
}

function times(ratio) {
  return ratio === undefined ? none : ratio.median.toFixed(2);
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
