// What rounds come to: medians, spread, and ratios between servers of one shape.

/** @typedef {{ median: number, least: number, most: number }} Figure */

/** Where the numbers of a round are. A smaller one is better but for `per...`. */
const metrics = {
  perSecond: (round) => round.perSecond,
  cpuUs: (round) => round.cpuUs,
  perCpuSecond: (round) => 1e6 / round.cpuUs,
  userUs: (round) => round.userUs,
  systemUs: (round) => round.systemUs,
  p50Us: (round) => round.latencyUs?.p50,
  p99Us: (round) => round.latencyUs?.p99,
  p999Us: (round) => round.latencyUs?.p999,
  maxUs: (round) => round.latencyUs?.max,
  switches: (round) => round.switches,
  rssMb: (round) => round.rssMb,
  rssKbPerIdle: (round) => round.rssKbPerIdle,
  generatorBusy: (round) => round.generatorBusy,
};

/** @typedef {keyof typeof metrics} Metric */

export class Summary {
  #rows;

  /** @param {import('./rounds.mjs').Results} results */
  constructor({ rows }) {
    this.#rows = new Map(rows.map((row) => [keyOf(row.shape, row.server), row]));
  }

  /** Whether the server ran the shape at least once. */
  has(shape, server) {
    return this.figure(shape, server, 'perSecond') !== undefined;
  }

  /** @returns {Figure | undefined} undefined where it wasn't measured */
  figure(shape, server, metric) {
    return figureOf(this.#values(shape, server, metric));
  }

  /**
   * How many times the other's: the median over the rounds' own ratios, since what disturbs one
   * round disturbs both servers in it.
   *
   * @returns {Figure | undefined}
   */
  ratio(shape, server, other, metric) {
    return this.ratioBetween([shape, server], [shape, other], metric);
  }

  /** The same between rows of two shapes. */
  ratioBetween([shape, server], [otherShape, other], metric) {
    const ours = this.#values(shape, server, metric);
    const theirs = this.#values(otherShape, other, metric);
    return figureOf(ours.map((value, round) => value / theirs[round]));
  }

  #values(shape, server, metric) {
    const rounds = this.#rows.get(keyOf(shape, server))?.rounds ?? [];
    return rounds.map((round) => (round === null ? undefined : metrics[metric](round)));
  }
}

/** Of the values that are numbers; undefined if none is. @returns {Figure | undefined} */
export function figureOf(values) {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const middle = Math.floor(sorted.length / 2);
  const median =
    sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, least: sorted[0], most: sorted[sorted.length - 1] };
}

function keyOf(shape, server) {
  return `${shape}\n${server}`;
}
