import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { closeReasonNumbers } from '../src/close-reason.js';
import { maxDelimiterBytes } from '../src/framing.js';
import { TransportTimes } from '../src/request-times.js';
import { histogramBuckets, histogramFields } from '../src/time-histogram.js';
import { loadBinding } from '../src/transport/native/binding.js';
import * as crossing from '../src/transport/native/crossing.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What is committed, or about to be. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)));

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

/** `file:line: text` for every line of the files that matches. */
function linesWith(pattern: RegExp, among: readonly string[]): string[] {
  return among.flatMap((file) =>
    read(file)
      .split('\n')
      .flatMap((line, i) => (pattern.test(line) ? [`${file}:${i + 1}: ${line.trim()}`] : [])),
  );
}

describe('the tree', () => {
  // This file names what it looks for. The lock file is npm's, and names the public registry.
  const own = files.filter(
    (file) => file !== 'test/tidy.test.ts' && file !== 'package-lock.json' && !isBinary(file),
  );

  it('holds the files that these tests look at', () => {
    expect(own).toContain('ARCHITECTURE.md');
    expect(own.length).toBeGreaterThan(150);
  });

  it('has nothing left to be done later', () => {
    expect(linesWith(/\b(TODO|FIXME|XXX|HACK)\b/, own)).toEqual([]);
  });

  it('names no path of anybody’s machine, and no registry', () => {
    const path = /(?<![\w.:/-])\/(work|home|root|Users|tmp|var\/folders)\/[\w.-]/;
    const registry = /registry\.[\w-]+\.|\b(artifactory|verdaccio)\b|:\/\/[\w.-]+\/(npm|pypi)\//i;
    expect(linesWith(path, own)).toEqual([]);
    expect(linesWith(registry, own)).toEqual([]);
  });

  it('locks packages by their hashes, wherever they come from', () => {
    const { packages } = JSON.parse(read('package-lock.json')) as {
      packages: Record<string, { resolved?: string; integrity?: string }>;
    };
    const locked = Object.entries(packages).filter(([name]) => name !== '');
    expect(locked.length).toBeGreaterThan(10);
    for (const [name, { resolved, integrity }] of locked) {
      expect({ name, resolved, hash: integrity?.split('-')[0] }).toEqual({ name, hash: 'sha512' });
    }
  });

  it.each(files.filter((file) => file.endsWith('.md')))('has what %s links to', (file) => {
    // Code may hold what looks like a link.
    const text = read(file).replace(/```[\s\S]*?```|`[^`\n]*`/g, '');
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target as string);
    const missing = targets
      .filter((target) => !/^[a-z]+:/i.test(target))
      .filter((target) => !resolves(file, target));
    expect(missing).toEqual([]);
  });
});

describe('layers', () => {
  const core = files.filter((file) => /^native\/core\/.*\.(h|cc)$/.test(file));
  const platform = files.filter((file) => /^native\/platform\/.*\.(h|cc)$/.test(file));
  const runtimes = /^(node|napi|js_native_api|uv|v8|libplatform)\b|^(node|napi|uv|v8)[\w-]*\.h$/;

  it('are there', () => {
    expect(core.length).toBeGreaterThan(20);
    expect(platform.length).toBeGreaterThan(3);
  });

  it.each(core)('%s knows no Node and no system behind the seams', (file) => {
    for (const { name, isLocal } of includes(file)) {
      expect(name).not.toMatch(runtimes);
      expect(name).not.toMatch(/platform|addon/);
      // What the core includes of its own lies beside it.
      if (isLocal) expect(name).toMatch(/^[a-z_]+\.h$/);
      // Descriptors and clocks are reached through the seams; `iovec` is their vocabulary.
      else expect(name).toMatch(/^([a-z_]+|sys\/uio\.h)$/);
    }
  });

  it.each(platform)('%s knows no Node', (file) => {
    for (const { name } of includes(file)) {
      expect(name).not.toMatch(runtimes);
      expect(name).not.toMatch(/addon/);
    }
  });

  it('let transports know the core’s tables, and nobody else', () => {
    const outside = files.filter(
      (file) => /^src\/.*\.ts$/.test(file) && !file.startsWith('src/transport/native/'),
    );
    expect(outside.length).toBeGreaterThan(10);
    const reaching = linesWith(/from '.*transport\/native\//, outside);
    // The chooser, and what users ask of it.
    const may = /^src\/(select-transport|native-availability)\.ts:/;
    expect(reaching.filter((line) => !may.test(line))).toEqual([]);
  });
});

describe('constants of the boundary', () => {
  const header = read('native/addon/crossing.h');
  const enums: [string, Record<string, number>, Record<string, number>][] = [
    ['requestFields', crossing.requestFields, enumOf(header, 'RequestField', 'kRequest')],
    ['statusFields', crossing.statusFields, enumOf(header, 'StatusField', 'kStatus')],
    ['commandFields', crossing.commandFields, enumOf(header, 'CommandField', 'kCommand')],
    ['commandKinds', crossing.commandKinds, enumOf(header, 'CommandKind', 'k')],
    ['answerFields', crossing.answerFields, enumOf(header, 'AnswerField', 'kAnswer')],
    ['processorTimes', crossing.processorTimes, processorTimesOf(header)],
    ['histogramFields', histogramFields, enumOf(header, 'HistogramField', 'kHistogram')],
    ['commandFlags', crossing.commandFlags, enumOf(header, 'CommandFlag', 'kFlag')],
    [
      'eventKinds',
      crossing.eventKinds,
      enumOf(structOf(read('native/core/request.h'), 'Event'), 'Kind', 'k'),
    ],
    [
      'framingKinds',
      crossing.framingKinds,
      enumOf(structOf(read('native/core/framing.h'), 'Framing'), 'Kind', 'k'),
    ],
  ];

  it.each(enums)('%s are the header’s', (_name, ours, theirs) => {
    expect(Object.keys(theirs).length).toBeGreaterThan(0);
    expect(ours).toEqual(theirs);
  });

  it('close reasons are the core’s', () => {
    const theirs = enumOf(read('native/core/close_reason.h'), 'CloseReason', 'k');
    const { none, ...reasons } = theirs;
    expect(none).toBe(0);
    const ours = Object.entries(closeReasonNumbers).map(([code, number]) => [camel(code), number]);
    expect(Object.fromEntries(ours)).toEqual(reasons);
  });

  it('flags and marks are the header’s', () => {
    expect(numberIn(header, 'kLargeFlag')).toBe(crossing.largeFlag);
    expect(numberIn(header, 'kLastFlag')).toBe(crossing.lastFlag);
    expect(numberIn(header, 'kNoPart')).toBe(crossing.noPart);
  });

  const binding = loadBinding();

  it.skipIf(binding === null)('are what the addon was built with', () => {
    const last = (of: Record<string, number>): number => Math.max(...Object.values(of));
    expect(binding?.constants).toEqual({
      slabBytes: crossing.slabBytes,
      largeFrameBytes: crossing.largeFrameBytes,
      entriesPerTable: crossing.entriesPerTable,
      fieldsPerEntry: crossing.fieldsPerEntry,
      maxDelimiterBytes,
      lastCloseReason: last(closeReasonNumbers),
      lastRequestField: last(crossing.requestFields),
      lastCommandKind: last(crossing.commandKinds),
      lastCommandField: last(crossing.commandFields),
      answerFields: crossing.fieldsPerAnswer,
      processorTimes: TransportTimes.count,
      histogramBuckets,
      lastEventKind: last(crossing.eventKinds),
      lastFramingKind: last(crossing.framingKinds),
    });
  });
});

/** Their enumerators end alike. */
function processorTimesOf(header: string): Record<string, number> {
  const theirs = Object.entries(enumOf(header, 'ProcessorTime', 'k'));
  return Object.fromEntries(theirs.map(([name, number]) => [name.replace(/Time$/, ''), number]));
}

/** Corpora of fuzzers and the like. */
function isBinary(file: string): boolean {
  return readFileSync(join(root, file)).includes(0);
}

function includes(file: string): { name: string; isLocal: boolean }[] {
  return [...read(file).matchAll(/^\s*#\s*include\s*([<"])([^>"]+)[>"]/gm)].map(
    ([, mark, name]) => ({ name: name as string, isLocal: mark === '"' }),
  );
}

/** Whether the target of a link is in the tree, and its heading in the page. */
function resolves(file: string, target: string): boolean {
  const [path, heading] = target.split('#') as [string, string?];
  const page = path === '' ? file : join(dirname(file), decodeURIComponent(path));
  if (!existsSync(join(root, page))) return false;
  if (heading === undefined || !page.endsWith('.md')) return true;
  const headings = [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, text]) =>
    (text as string)
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
  return headings.includes(heading);
}

function camel(code: string): string {
  return code.toLowerCase().replace(/_(\w)/g, (_all, letter: string) => letter.toUpperCase());
}

/** The body of a C++ struct. */
function structOf(header: string, name: string): string {
  const body = new RegExp(`struct ${name} \\{([\\s\\S]*?)\\n\\};`).exec(header)?.[1];
  if (body === undefined) throw new Error(`no struct ${name}`);
  return body;
}

/** A C++ enum's values by their names, without the prefix and as TypeScript writes them. */
function enumOf(header: string, name: string, prefix: string): Record<string, number> {
  const body = new RegExp(`enum (?:class )?${name} : \\w+ \\{([^}]*)\\}`).exec(header)?.[1];
  if (body === undefined) throw new Error(`no enum ${name}`);
  const values: Record<string, number> = {};
  let next = 0;
  for (const [, label, value] of body
    .replace(/\/\/.*$/gm, '')
    .matchAll(/\bk(\w+)\s*(?:=\s*(\d+))?/g)) {
    const key = `k${label}`.slice(prefix.length);
    next = value === undefined ? next : Number(value);
    values[key.charAt(0).toLowerCase() + key.slice(1)] = next++;
  }
  return values;
}

function numberIn(header: string, name: string): number {
  const text = new RegExp(`${name} = ([0-9a-fx']+)`).exec(header)?.[1];
  return Number(text?.replaceAll("'", ''));
}
