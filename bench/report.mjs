// The whole report of a run in Markdown, and its place in docs/benchmarks.md.
import { readFileSync, writeFileSync } from 'node:fs';
import { root } from './commands.mjs';
import { judge } from './goals.mjs';
import { drawPicture } from './picture.mjs';
import { Summary } from './summary.mjs';
import { behindList, goalsTable, overviewTable, shapeSection } from './table.mjs';

const page = `${root}docs/benchmarks.md`;
const picture = `${root}docs/benchmarks.svg`;
const pictureText =
  "Requests a second and CPU per request of each server, as multiples of node:net's";
const begin = '<!-- results: npm run bench -- --publish -->';
const end = '<!-- end of results -->';

/**
 * @param {object} run what {@link file://./run.mjs} saves: machine, command, results
 * @param {import('./suites.mjs').Suite[]} suites
 */
export function makeReport(run, suites) {
  const summary = new Summary(run.results);
  const shapes = suites.flatMap((suite) => suite.shapes);
  const ours = oursOf(suites);
  const verdicts = judge(
    suites.flatMap((suite) => suite.goals),
    summary,
  );
  const sections = [
    conditions(run),
    `![${pictureText}](benchmarks.svg)`,
    `## Goals\n\n${goalsTable(verdicts)}`,
    `## Where we are not ahead\n\n${behindList(shapes, ours, summary)}`,
    `## Overview: native, with all defaults\n\n${overviewTable(shapes, 'native', summary)}`,
    '## Every row',
    ...shapes.map((shape) => shapeSection(shape, summary)).filter((text) => text !== ''),
  ];
  return { markdown: sections.join('\n\n'), verdicts, shapes, summary };
}

function oursOf(suites) {
  const servers = suites.flatMap((suite) => suite.servers);
  return new Set(servers.filter(({ isOurs }) => isOurs).map(({ name }) => name));
}

/** Puts the report and the picture into the docs. */
export function publish({ markdown, shapes, summary }) {
  const text = readFileSync(page, 'utf8');
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${page} has lost its markers`);
  const head = text.slice(0, from + begin.length);
  writeFileSync(page, `${head}\n\n${markdown}\n\n${text.slice(to)}`);
  writeFileSync(picture, drawPicture(shapes, summary));
}

function conditions({ machine, command, rounds, times, results }) {
  const lines = [
    `\`${command}\`, ${machine.date}, commit ${machine.commit}: ${rounds} interleaved rounds of ` +
      `${times.seconds} s after ${times.warmupSeconds} s of warm-up, each on a new server.`,
    `${machine.cpu}, ${machine.memoryGb} GB, ${machine.system}; Node ${machine.node}, Bun ` +
      `${machine.bun}, ${machine.compiler}.` +
      (machine.isPinned ? '' : ' Nothing was pinned: both share the cores.'),
  ];
  const absent = Object.entries(results.absent).map(([name, why]) => `${name} (${why})`);
  if (absent.length > 0) lines.push(`Absent: ${absent.join('; ')}.`);
  for (const { shape, server, failures } of results.rows) {
    for (const { round, message } of failures) {
      lines.push(`Failed: ${shape} on ${server}, round ${round}: ${message.split('\n')[0]}`);
    }
  }
  if (results.cutShort !== undefined) lines.push(`Cut short: ${results.cutShort}.`);
  return lines.join('\n\n');
}
