import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { glibcOf, problemsOf, readBinary } from '../scripts/prebuilds/check.mjs';
import { chooseTargets, targets } from '../scripts/prebuilds/targets.mjs';
import { machO } from './support/mach-o.js';

// The rules that shipped binaries are checked by. What breaks them is made here: ELF by the machine's
// compiler, Mach-O byte by byte.

const isLinux = process.platform === 'linux' && spawnSync('cc', ['--version']).status === 0;

function rulesOf(name: string) {
  return (chooseTargets([name])[0] as (typeof targets)[number]).binary;
}

describe.skipIf(!isLinux)('ELF', () => {
  const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
  const other = arch === 'arm64' ? 'x64' : 'arm64';
  const rules = rulesOf(`linux-${arch}-glibc`);
  const good = [
    '-Wl,-z,nodelete',
    '-Wl,-z,relro,-z,now',
    '-fvisibility=hidden',
    '-nostartfiles',
    '-s',
  ];
  const entries = `
    __attribute__((visibility("default"))) int napi_register_module_v1(void) { return 0; }
    __attribute__((visibility("default"))) int node_api_module_get_api_version_v1(void) { return 8; }
    int getpid(void);
    int hidden(void) { return getpid(); }
    __attribute__((visibility("default"))) `;
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'odradek-elf-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** A shared library with N-API's entry points, and what the code adds. */
  function compile(code: string, flags: string[]): Buffer {
    const source = join(folder, 'a.c');
    const output = join(folder, 'a.node');
    writeFileSync(source, `${entries}${code}`);
    execFileSync('cc', ['-shared', '-fPIC', '-O1', ...flags, '-o', output, source], {
      stdio: 'pipe',
    });
    return readFileSync(output);
  }

  const use = 'int (*used)(void) = hidden;';
  const entriesAlone = 'extern int unused;';

  it('passes what keeps every rule', () => {
    const bytes = compile(entriesAlone, good);
    const binary = readBinary(bytes);
    expect(binary).toMatchObject({ format: 'ELF', arch, isShared: true, isNodelete: true });
    expect(binary.libraries).toEqual(['libc.so.6']);
    expect(problemsOf(bytes, rules)).toEqual([]);
  });

  it('reads what readelf reads', () => {
    const bytes = compile(entriesAlone, good);
    const file = join(folder, 'a.node');
    const text = execFileSync('readelf', ['-W', '--dyn-syms', '--dynamic', file], {
      encoding: 'utf8',
    });
    const binary = readBinary(bytes);
    expect(text.match(/\(NEEDED\)/g)?.length).toBe(binary.libraries.length);
    const defined = [...text.matchAll(/ (?:GLOBAL|WEAK) +DEFAULT +\d+ (\S+)/g)].map(
      ([, name]) => name,
    );
    expect(binary.exports).toEqual(defined.sort());
    expect(text).toContain(`GLIBC_${glibcOf(binary)}`);
  });

  it('finds the symbols by either hash table', () => {
    for (const style of ['gnu', 'sysv', 'both']) {
      const bytes = compile(entriesAlone, [...good, `-Wl,--hash-style=${style}`]);
      expect(readBinary(bytes).exports).toEqual([
        'napi_register_module_v1',
        'node_api_module_get_api_version_v1',
      ]);
    }
  });

  const broken: [string, string, string[], string | RegExp][] = [
    ['an export too many', 'int operator_new;', good, 'exports operator_new'],
    [
      'a library that not every system has',
      use,
      [...good, '-Wl,--no-as-needed', '-lstdc++'],
      'needs libstdc++.so.6',
    ],
    [
      'a path to libraries',
      use,
      [...good, '-Wl,-rpath,/opt/lib'],
      'looks for libraries in /opt/lib',
    ],
    [
      'no nodelete',
      use,
      good.filter((flag) => !flag.includes('nodelete')),
      'may be unloaded (no nodelete)',
    ],
    [
      'relocations that stay writable',
      use,
      [...good.filter((flag) => !flag.includes('relro')), '-Wl,-z,norelro,-z,lazy'],
      'is writable where it need not be (no relro, now)',
    ],
    ['an executable stack', use, [...good, '-Wl,-z,execstack'], 'wants an executable stack'],
    [
      'a symbol that nobody promised',
      'int uv_run(void); int run(void) { return uv_run(); }',
      good,
      'looks for uv_run in the process',
    ],
    [
      'an entry point too few',
      use,
      [...good, '-Wl,--version-script'],
      'does not export napi_register_module_v1',
    ],
  ];

  it.each(broken)('names %s', (name, code, flags, problem) => {
    const map = join(folder, 'none.map');
    writeFileSync(map, '{ global: node_api_module_get_api_version_v1; local: *; };');
    const given = flags.map((flag) => (flag === '-Wl,--version-script' ? `${flag}=${map}` : flag));
    expect(problemsOf(compile(code, given), rules), name).toContain(problem);
  });

  it('compares the glibc that it needs as numbers', () => {
    const bytes = compile(entriesAlone, good);
    const needed = glibcOf(readBinary(bytes)) as string;
    // 2.2.5 on x64, 2.17 on arm64
    const [major, minor] = needed.split('.').map(Number) as [number, number];
    const floors = (floor: string) => problemsOf(bytes, { ...rules, glibcFloor: floor });
    expect(floors(needed)).toEqual([]);
    expect(floors(`${major}.${minor + 100}`)).toEqual([]);
    expect(floors(`${major}.${minor - 1}`)).toEqual([
      `needs glibc ${needed}, newer than ${major}.${minor - 1}`,
    ]);
  });

  it('names another platform, another C library, and bytes too many', () => {
    const bytes = compile(entriesAlone, good);
    expect(problemsOf(bytes, rulesOf(`linux-${other}-glibc`))).toContain(
      `is for ${arch}, not ${other}`,
    );
    expect(problemsOf(bytes, rulesOf(`linux-${arch}-musl`))).toContain('needs libc.so.6');
    expect(problemsOf(bytes, rulesOf('darwin-arm64'))).toEqual(['is ELF, not Mach-O']);
    expect(problemsOf(bytes, { ...rules, maxBytes: bytes.length - 1 })).toEqual([
      `has ${bytes.length} bytes, more than ${bytes.length - 1}`,
    ]);
  });

  it('says of what is cut short that it cannot be read', () => {
    const bytes = compile(entriesAlone, good);
    for (let length = 0; length < 4096; length += 64) {
      expect(problemsOf(bytes.subarray(0, length), rules)).not.toEqual([]);
    }
  });

  // What node-gyp makes serves its own machine: made of the same parts, for no older system.
  const local = fileURLToPath(new URL('../build/Release/odradek.node', import.meta.url));
  it.skipIf(!existsSync(local))('reads the addon that was built here', () => {
    const bytes = readFileSync(local);
    const binary = readBinary(bytes);
    expect(binary.exports).toEqual(rules.exports);
    expect(binary).toMatchObject({ format: 'ELF', isNodelete: true });
    expect(problemsOf(bytes, { ...rules, glibcFloor: '2.4' })).toContain(
      `needs glibc ${glibcOf(binary)}, newer than 2.4`,
    );
  });
});

describe('Mach-O', () => {
  const rules = rulesOf('darwin-arm64');
  const good = {
    arch: 'arm64',
    libraries: ['/usr/lib/libSystem.B.dylib'],
    exports: rules.exports,
    name: '@rpath/odradek.node',
    macos: [11, 0],
    isSigned: true,
  } as const;

  it('passes what keeps every rule', () => {
    expect(readBinary(machO(good))).toMatchObject({
      format: 'Mach-O',
      arch: 'arm64',
      libraries: good.libraries,
      exports: good.exports,
      macosFloor: '11.0',
    });
    expect(problemsOf(machO(good), rules)).toEqual([]);
    expect(
      problemsOf(machO({ ...good, arch: 'x64', isSigned: false }), rulesOf('darwin-x64')),
    ).toEqual([]);
  });

  it('names every rule that is broken', () => {
    const libraries = [...good.libraries, '/usr/lib/libc++.1.dylib'];
    expect(problemsOf(machO({ ...good, libraries }), rules)).toEqual([
      'needs /usr/lib/libc++.1.dylib',
    ]);
    expect(problemsOf(machO({ ...good, rpath: '@loader_path' }), rules)).toEqual([
      'looks for libraries in @loader_path',
    ]);
    const exports = ['_Znwm', 'napi_register_module_v1'];
    expect(problemsOf(machO({ ...good, exports }), rules)).toEqual([
      'exports _Znwm',
      'does not export node_api_module_get_api_version_v1',
    ]);
    expect(problemsOf(machO({ ...good, name: '/srv/odradek.node' }), rules)).toEqual([
      'is named /srv/odradek.node',
    ]);
    expect(problemsOf(machO({ ...good, macos: [13, 1] }), rules)).toEqual([
      'needs macOS 13.1, newer than 11.0',
    ]);
    expect(problemsOf(machO({ ...good, isSigned: false }), rules)).toEqual(['is not signed']);
    expect(problemsOf(machO({ ...good, arch: 'x64' }), rules)).toEqual(['is for x64, not arm64']);
    expect(problemsOf(machO(good), rulesOf('linux-x64-musl'))).toEqual(['is Mach-O, not ELF']);
  });

  it('says of what is no binary, or half of one, that it cannot be read', () => {
    expect(problemsOf(Buffer.alloc(100), rules)).toEqual([
      'cannot be read: no Mach-O file of 64 bits',
    ]);
    const bytes = machO(good);
    expect(problemsOf(bytes.subarray(0, bytes.length - 40), rules)[0]).toMatch(/^cannot be read/);
  });
});

describe('targets', () => {
  it('have places that node-gyp-build finds', () => {
    const places = targets.map((target) => target.file);
    expect(new Set(places).size).toBe(6);
    for (const place of places) {
      expect(place).toMatch(/^(linux|darwin)-(x64|arm64)\/odradek(\.glibc|\.musl)?\.node$/);
    }
  });

  it('are chosen by name', () => {
    expect(chooseTargets([])).toBe(targets);
    expect(chooseTargets(['linux-x64-musl']).map((target) => target.file)).toEqual([
      'linux-x64/odradek.musl.node',
    ]);
    expect(() => chooseTargets(['windows'])).toThrow(
      'there is no target windows; known are linux-',
    );
  });
});
