import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(`${root}docs/conformance.md`, 'utf8');

interface Case {
  readonly name: string;
  readonly verdict: string;
  readonly here: string;
}

interface Named {
  readonly file: string;
  readonly title: string;
}

/** The tests that a text names: `file`: "title", "title", or `Suite.Name` for those of GoogleTest. */
function testsIn(text: string): Named[] {
  const title = '(?:"[^"]+"|`[\\w.]+`)';
  const named = new RegExp(`\`((?:native/)?test/[\\w./-]+)\`: (${title}(?:, ${title})*)`, 'g');
  return [...text.matchAll(named)].flatMap(([, file, titles]) =>
    [...(titles as string).matchAll(/"([^"]+)"|`([\w.]+)`/g)].map(([, vitest, gtest]) => ({
      file: file as string,
      title: (vitest ?? gtest) as string,
    })),
  );
}

function casesOf(kafkaClass: string): Case[] {
  const section = page.split(`## ${kafkaClass}\n`)[1]?.split('\n## ')[0] ?? '';
  return [...section.matchAll(/^\| (\w+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$/gm)].map(
    ([, name, verdict, here]) => ({ name, verdict, here }) as Case,
  );
}

/** Whether the file defines a test of this name: a title in its quotes, or a TEST of GoogleTest. */
function defines({ file, title }: Named): boolean {
  if (!existsSync(`${root}${file}`)) return false;
  const text = readFileSync(`${root}${file}`, 'utf8');
  if (file.endsWith('.cc')) {
    const [suite, name] = title.split('.');
    return new RegExp(`^TEST(_F|_P)?\\(${suite}, ${name}\\)`, 'm').test(text);
  }
  // After `it(`, or after the table of an `it.each`.
  return (
    text.includes(`it('${title}'`) || text.includes(`)('${title}'`) || isOnItsOwnLine(text, title)
  );
}

function isOnItsOwnLine(text: string, title: string): boolean {
  return text.split('\n').some((line) => line.trim() === `'${title}',`);
}

describe('docs/conformance.md', () => {
  const classes: [string, number][] = [
    ['SocketServerTest', 61],
    ['SelectorTest', 33],
    ['ConnectionQuotasTest', 20],
    ['NetworkReceiveTest', 5],
    ['KafkaChannelTest', 2],
  ];

  it.each(classes)('accounts for every case of %s', (kafkaClass, count) => {
    const cases = casesOf(kafkaClass);
    expect(new Set(cases.map(({ name }) => name)).size).toBe(count);
    expect(cases).toHaveLength(count);
    for (const { name, verdict, here } of cases) {
      const isOurs = verdict === 'our test' || /^differs by contract [1-7]$/.test(verdict);
      if (isOurs) expect({ name, tests: testsIn(here).length }).not.toEqual({ name, tests: 0 });
      else expect(["can't apply", 'not built yet: limits']).toContain(verdict);
      // What isn't ours has its reason, and what differs says how.
      if (verdict !== 'our test') expect(here.replace(/`[^`]+`|"[^"]+"/g, '')).toMatch(/\w{2}/);
    }
  });

  it.each(classes)('sums up %s', (kafkaClass) => {
    const verdicts = casesOf(kafkaClass).map(({ verdict }) => verdict);
    const count = (verdict: string): number =>
      verdicts.filter((other) => other.startsWith(verdict)).length;
    const counts = ['', 'our test', 'differs', 'not built yet', "can't apply"].map(count);
    expect(page).toContain(`| ${kafkaClass} | ${counts.join(' | ')} |`);
  });

  it('names tests', () => {
    expect(testsIn(page).length).toBeGreaterThan(100);
    // Every mention of a test's file is one that the checks below have read.
    const mentions = page.match(/`(native\/)?test\/[\w./-]+`: /g) ?? [];
    const parsed = page.match(/`(native\/)?test\/[\w./-]+`: ["`]/g) ?? [];
    expect(parsed).toHaveLength(mentions.length);
  });

  it.each(testsIn(page).map(({ file, title }) => [title, file] as const))(
    'names "%s" as %s has it',
    (title, file) => {
      expect(defines({ file, title })).toBe(true);
    },
  );

  it('would notice a test that is gone', () => {
    expect(defines({ file: 'test/order.test.ts', title: 'answers a request' })).toBe(false);
    expect(defines({ file: 'test/gone.test.ts', title: 'answers a request' })).toBe(false);
    expect(defines({ file: 'native/test/send_test.cc', title: 'SendTest.Byte' })).toBe(false);
  });
});
