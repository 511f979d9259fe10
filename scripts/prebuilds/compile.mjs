// Compiles and links the addon for one target, with the sources and flags of native/addon.gypi.
//
// prebuildify would be the usual way, but it runs node-gyp, and gyp can't make another system's files:
// for macOS its make generator asks for Xcode. It also takes its flags from the Node that runs it, and
// strips by a tool that knows the builder's format alone. zig does in one command what is left to do.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @param {object} target of targets.mjs
 * @param {{ zig: string, root: string, output: string, cache: string }} paths of the compiler, the
 *   tree to compile, what is made, and a folder for zig's own
 */
export function compile(target, { zig, root, output, cache }) {
  const addon = readAddon(root, target.os);
  const args = [
    'c++',
    ...['-target', target.zig, '-mcpu=baseline', '-shared', '-fPIC'],
    // Without names and lines: neither the paths of this machine nor the time get in.
    ...['-O3', '-g0', '-s'],
    ...addon.defines.map((define) => `-D${define}`),
    ...addon.flags,
    `-I${join('node_modules', 'node-api-headers', 'include')}`,
    ...addon.linkFlags,
    ...['-o', output],
    ...addon.sources,
    ...(target.os === 'mac' ? [join('scripts', 'prebuilds', 'new_delete.cc')] : []),
  ];
  const env = { ...process.env, ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: cache };
  const { status, error } = spawnSync(zig, args, { cwd: root, env, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${target.name}: zig failed (${error?.message ?? status})`);
}

/** What gyp would make of native/addon.gypi and native/sources.gypi, both plain JSON, on a system. */
function readAddon(root, os) {
  const read = (name) => JSON.parse(readFileSync(join(root, 'native', name), 'utf8'));
  const { variables } = read('sources.gypi');
  const [target] = read('addon.gypi').targets;
  const parts = [target, ...target.conditions.map((condition) => choose(condition, os))];
  const all = (key) => parts.flatMap((part) => part?.[key] ?? []);
  return {
    sources: all('sources').flatMap((source) => expand(source, variables)),
    defines: all('defines'),
    flags: all('cflags_cc'),
    // zig has its own C++ library, which it links in by itself.
    linkFlags: [
      ...all('ldflags')
        .filter((flag) => !flag.startsWith('-static-lib'))
        .map((flag) => flag.replace('<(module_root_dir)/', '')),
      // Node's functions are in the process that loads it. Its own name would be the path of the output.
      ...(os === 'mac'
        ? ['-Wl,-undefined,dynamic_lookup', '-Wl,-install_name,@rpath/odradek.node']
        : []),
    ],
  };
}

/** `["OS=='linux'", then, else]` */
function choose([condition, then, otherwise], os) {
  const wanted = /^OS=='(\w+)'$/.exec(condition)?.[1];
  if (wanted === undefined) throw new Error(`native/addon.gypi: what is ${condition}?`);
  return wanted === os ? then : otherwise;
}

/** `<@(list)` of native/sources.gypi, or a path. */
function expand(source, variables) {
  const list = /^<@\((\w+)\)$/.exec(source)?.[1];
  return list === undefined ? [source] : variables[list];
}
