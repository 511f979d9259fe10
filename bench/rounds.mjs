// All measurements of a run, in interleaved rounds: every shape on every server of it once, then
// all of them again. What disturbs the machine for a while so disturbs all alike.
import { measure } from './measure.mjs';
import { Absent } from './server-process.mjs';

/** A server that failed so often in a shape isn't tried again: each time may take its time-outs. */
const mostFailures = 2;

/**
 * @typedef {object} Row one shape on one server
 * @property {string} shape
 * @property {string} server
 * @property {1 | 2} cores that the server had
 * @property {(import('./measure.mjs').Round | null)[]} rounds null for one that failed
 * @property {{ round: number, message: string }[]} failures
 */

/**
 * @typedef {object} Results
 * @property {Row[]} rows
 * @property {Record<string, string>} absent why, by the server's name
 * @property {string} [cutShort] if time ran out
 */

/**
 * @param {{ shapes: import('./shapes.mjs').Shape[],
 *   servers: import('./server-process.mjs').Server[], rounds: number,
 *   times: import('./shapes.mjs').Times, deadline: number, log: (text: string) => void }} plan
 *   `deadline` in the milliseconds of `performance.now()`
 * @returns {Promise<Results>}
 */
export async function runRounds({ shapes, servers, rounds, times, deadline, log }) {
  const pairs = pairsOf(shapes, servers);
  const results = { rows: pairs.map(({ row }) => row), absent: absences(pairs) };
  for (let round = 1; round <= rounds; round++) {
    for (const pair of pairs) {
      const { row, server } = pair;
      if (row.failures.length >= mostFailures || results.absent[server.name] !== undefined)
        continue;
      if (performance.now() > deadline) {
        results.cutShort = `time ran out in round ${round} of ${rounds}, at ${row.shape}`;
        return results;
      }
      await measureOnce(pair, round, { times, results, log });
    }
  }
  return results;
}

/** What runs: the shapes' table of servers, looked up. */
function pairsOf(shapes, servers) {
  const byName = new Map(servers.map((server) => [server.name, server]));
  return shapes.flatMap((shape) =>
    shape.servers
      .filter((name) => byName.has(name))
      .map((name) => ({
        shape,
        server: byName.get(name),
        row: { shape: shape.name, server: name, cores: shape.cores, rounds: [], failures: [] },
      })),
  );
}

function absences(pairs) {
  return Object.fromEntries(
    pairs
      .filter(({ server }) => server.absent !== undefined)
      .map(({ server }) => [server.name, server.absent]),
  );
}

async function measureOnce({ shape, server, row }, round, { times, results, log }) {
  const label = `${shape.name} | ${server.name} | round ${round}`;
  try {
    const result = await measure(shape, server, times);
    row.rounds.push(result);
    log(`${label}: ${Math.round(result.perSecond)}/s, ${result.cpuUs?.toFixed(2)} us of CPU`);
  } catch (error) {
    if (error instanceof Absent) {
      results.absent[server.name] = error.message;
      log(`${label}: absent: ${error.message}`);
    } else {
      row.rounds.push(null);
      row.failures.push({ round, message: error.message });
      log(`${label}: FAILED: ${error.message}`);
    }
  }
}
