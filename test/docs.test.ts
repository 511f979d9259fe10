import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { prometheusText } from '../examples/prometheus-text.js';
import type { Metrics } from '../src/index.js';
import { type CodeBlock, codeBlocks } from './support/code-blocks.js';

// The pages say what the types say. (That their links lead somewhere is tidy.test.ts's.)

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const pages = readdirSync(join(root, 'docs')).filter((file) => file.endsWith('.md'));

/** What the reader of a page is told to write: each a file of this name, beside the page. */
const programs = [
  ...namedBlocks('README.md', (block, i) => ({ ...block, file: block.file ?? `readme-${i}.ts` })),
  ...namedBlocks('docs/getting-started.md', (block) => block),
];

function namedBlocks(page: string, name: (block: CodeBlock, index: number) => CodeBlock) {
  return codeBlocks(read(page))
    .map(name)
    .filter(({ language }) => language === 'ts' || language === 'js')
    .map(({ file, text }) => ({ page, file: file as string, text }));
}

/** Compiles the programs, and what is wrong on purpose, as a strict project would. */
function compile(wrong: string): ts.Program {
  const files = new Map(programs.map(({ file, text }) => [join(root, 'docs', file), text]));
  files.set(join(root, 'docs', 'wrong.ts'), wrong);
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    skipLibCheck: true,
    paths: { odradek: [join(root, 'src', 'index.ts')] },
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.getCurrentDirectory = () => root;
  host.fileExists = (file) => files.has(file) || fileExists(file);
  host.readFile = (file) => files.get(file) ?? readFile(file);
  const sources = [...files.keys()].filter((file) => file.endsWith('.ts'));
  return ts.createProgram([...sources, join(root, 'src', 'index.ts')], options, host);
}

const wrong = "import { SocketServer } from 'odradek';\nnew SocketServer({ listeners: 5 });\n";
const program = compile(wrong);

function problemsOf(file: string): string[] {
  const source = program.getSourceFile(join(root, 'docs', file));
  if (source === undefined) throw new Error(`no ${file}`);
  return ts
    .getPreEmitDiagnostics(program, source)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

/** The fields of an exported type, inherited ones included. */
function fieldsOf(name: string): string[] {
  const checker = program.getTypeChecker();
  const index = program.getSourceFile(join(root, 'src', 'index.ts'));
  const module = index && checker.getSymbolAtLocation(index);
  const found = module && checker.getExportsOfModule(module).find((each) => each.name === name);
  if (found === undefined) throw new Error(`no ${name} is exported`);
  const symbol = found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found;
  return checker
    .getDeclaredTypeOfSymbol(symbol)
    .getProperties()
    .map((property) => property.name);
}

/** Those that no code in the text names: `x`, `a.x`, `a[].x`. */
function unnamed(fields: readonly string[], text: string): string[] {
  const code = [...text.matchAll(/```.*?```|`[^`\n]+`/gs)].map(([each]) => each).join('\n');
  return fields.filter((field) => !new RegExp(`(?<![\\w$])${field}(?![\\w$])`).test(code));
}

describe('the pages', () => {
  it('are all in their index, which the README names', () => {
    const index = read('docs/README.md');
    const others = pages.filter((page) => page !== 'README.md');
    expect(others.length).toBeGreaterThan(12);
    expect(others.filter((page) => !index.includes(`](${page})`))).toEqual([]);
    expect(read('README.md')).toContain('](docs/README.md)');
  });

  const all = pages.map((page) => read(`docs/${page}`)).join('\n');

  it.each([
    'SocketServerOptions',
    'ListenerOptions',
    'HandlerPoolOptions',
    'CloseOptions',
    'RemoveListenerOptions',
  ])('name every option of %s', (type) => {
    expect(fieldsOf(type).length).toBeGreaterThan(0);
    expect(unnamed(fieldsOf(type), all)).toEqual([]);
  });

  const metrics = read('docs/metrics.md');

  it.each(['Metrics', 'ListenerMetrics', 'ProcessorMetrics', 'HandlerThreadMetrics'])(
    'have every field of %s in docs/metrics.md',
    (type) => {
      expect(fieldsOf(type).length).toBeGreaterThan(5);
      expect(unnamed(fieldsOf(type), metrics)).toEqual([]);
    },
  );

  it('would notice one that is missing', () => {
    const [connections, mistake] = ['`listeners[].connections`', '`connectionsTotal` connections'];
    expect(unnamed(['connections'], connections)).toEqual([]);
    expect(unnamed(['connections'], mistake)).toEqual(['connections']);
  });

  it('name the metrics that the Prometheus example has', () => {
    const snapshotOf = (type: string): object =>
      Object.fromEntries(fieldsOf(type).map((field) => [field, 1]));
    const text = prometheusText({
      ...snapshotOf('Metrics'),
      listeners: [snapshotOf('ListenerMetrics')],
      processors: [snapshotOf('ProcessorMetrics')],
      handlerThreads: [snapshotOf('HandlerThreadMetrics')],
    } as unknown as Metrics);
    const names = new Set(metrics.match(/\bodradek_\w+/g));
    expect(names.size).toBeGreaterThan(8);
    const missing = [...names].filter((name) => !text.includes(`# TYPE ${name} `));
    expect(missing).toEqual([]);
  });
});

describe('the programs of README.md and getting-started.md', () => {
  const checked = programs.filter(({ file }) => file.endsWith('.ts'));

  it.each(checked.map(({ page, file }) => [file, page]))('%s of %s compiles', (file) => {
    expect(problemsOf(file)).toEqual([]);
  });

  it('are there, and what is wrong in one would be seen', () => {
    expect(checked.length).toBeGreaterThan(4);
    expect(problemsOf('wrong.ts').join()).toMatch(/number.*not assignable/);
  });
});
