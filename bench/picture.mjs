// A run as an SVG: a line for each shape, a dot for each server, at its ratio to node:net.
const width = 900;
const labelWidth = 230;
const panelGap = 46;
const rowHeight = 26;
const top = 112;
const bottom = 34;
const font = 'font-family="system-ui, sans-serif"';
const baseline = 'node:net';
const pictureTitle = 'Against the best hand-written server on node:net (= 1)';

/** Colours that differ in lightness, too; ours are the warm ones. */
const series = [
  { name: 'floor', colour: '#9a9a9a' },
  { name: 'node:net', colour: '#3b7a3b' },
  { name: 'Bun', colour: '#4c8fd6' },
  { name: 'js', colour: '#e8b04a' },
  { name: 'native, 1 thread', colour: '#e8743b' },
  { name: 'native', colour: '#b3202c' },
];

/** Ratios are shown on a logarithmic scale, from the first tick to the last. */
const panels = [
  {
    title: 'Requests a second (more is better)',
    metric: 'perSecond',
    ticks: [0.25, 0.5, 1, 2, 4, 8],
  },
  {
    title: 'Server CPU per request (less is better)',
    metric: 'cpuUs',
    ticks: [0.125, 0.25, 0.5, 1, 2, 4],
  },
];

/**
 * @param {import('./shapes.mjs').Shape[]} shapes
 * @param {import('./summary.mjs').Summary} summary
 */
export function drawPicture(shapes, summary) {
  const rows = shapes.filter((shape) => summary.has(shape.name, baseline));
  const height = top + rows.length * rowHeight + bottom;
  const panelWidth = (width - labelWidth - panels.length * panelGap) / panels.length;
  const parts = [
    `<title>${pictureTitle}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(16, 28, pictureTitle, {
      size: 16,
      bold: true,
    }),
    legend(),
    ...rows.map((shape, i) => text(labelWidth - 8, rowAt(i) + 4, shape.name, { anchor: 'end' })),
    ...panels.map((panel, i) => {
      const left = labelWidth + i * (panelWidth + panelGap);
      return drawPanel({ ...panel, left, width: panelWidth }, rows, summary);
    }),
  ];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `width="${width}" height="${height}" ${font}>\n${parts.join('\n')}\n</svg>\n`
  );
}

function drawPanel(panel, rows, summary) {
  const end = rowAt(rows.length) - rowHeight / 2;
  const parts = [text(panel.left, top - 26, panel.title, { bold: true })];
  for (const tick of panel.ticks) {
    const x = xOf(tick, panel);
    const colour = tick === 1 ? '#333333' : '#dddddd';
    parts.push(
      `<line x1="${x}" y1="${top - 10}" x2="${x}" y2="${end}" stroke="${colour}"/>`,
      text(x, end + 16, `${tick}x`, { anchor: 'middle', size: 11 }),
    );
  }
  rows.forEach((shape, i) => {
    // At a given rate all servers answer as many requests.
    const isTold = panel.metric === 'cpuUs' || shape.measure === 'throughput';
    if (isTold) parts.push(...dots(shape, rowAt(i), panel, summary));
  });
  return parts.join('\n');
}

function dots(shape, y, panel, summary) {
  return series.flatMap(({ name, colour }) => {
    const ratio = summary.ratio(shape.name, name, baseline, panel.metric);
    if (ratio === undefined) return [];
    const x = xOf(ratio.median, panel);
    const title = `<title>${shape.name}, ${name}: ${ratio.median.toFixed(2)}x</title>`;
    return [`<circle cx="${x}" cy="${y}" r="5.5" fill="${colour}">${title}</circle>`];
  });
}

function legend() {
  const step = (width - 32) / series.length;
  return series
    .map(({ name, colour }, i) => {
      const x = 22 + i * step;
      return `<circle cx="${x}" cy="52" r="5.5" fill="${colour}"/>\n${text(x + 11, 56, name)}`;
    })
    .join('\n');
}

function rowAt(i) {
  return top + (i + 0.5) * rowHeight;
}

/** A ratio beyond the scale stands at its end. */
function xOf(ratio, { left, width: panelWidth, ticks }) {
  const first = Math.log2(ticks[0]);
  const last = Math.log2(ticks[ticks.length - 1]);
  const share = (Math.log2(ratio) - first) / (last - first);
  return Math.round((left + Math.min(Math.max(share, 0), 1) * panelWidth) * 10) / 10;
}

function text(x, y, content, { anchor = 'start', size = 12, bold = false } = {}) {
  const weight = bold ? ' font-weight="bold"' : '';
  const escaped = content.replace(/&/g, '&amp;').replace(/</g, '&lt;');
  return (
    `<text x="${x}" y="${y}" font-size="${size}" text-anchor="${anchor}" fill="#222222"${weight}>` +
    `${escaped}</text>`
  );
}
