// The platforms for which binaries are shipped, and what each binary may need of its system.

const exports = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

/** Three times what they are: a C++ library linked in twice, or left unstripped, shows. */
const maxBytes = 1.5 * 1024 * 1024;

/** Node 20's own floor (RHEL 8), and libm, libdl and libpthread are parts of the C library there. */
const glibcFloor = '2.28';

/** The oldest macOS of Node 20 for arm64. */
const macosFloor = '11.0';

function glibc(arch, machine, loader) {
  return {
    name: `linux-${arch}-glibc`,
    file: `linux-${arch}/odradek.glibc.node`,
    zig: `${machine}-linux-gnu.${glibcFloor}`,
    os: 'linux',
    binary: {
      format: 'ELF',
      arch,
      glibcFloor,
      libraries: ['libc.so.6', 'libm.so.6', 'libpthread.so.0', 'libdl.so.2', 'librt.so.1', loader],
      exports,
      maxBytes,
    },
  };
}

function musl(arch, machine) {
  return {
    name: `linux-${arch}-musl`,
    file: `linux-${arch}/odradek.musl.node`,
    zig: `${machine}-linux-musl`,
    os: 'linux',
    // musl's loader takes any `libc.so` for itself.
    binary: { format: 'ELF', arch, glibcFloor: null, libraries: ['libc.so'], exports, maxBytes },
  };
}

function darwin(arch, machine) {
  return {
    name: `darwin-${arch}`,
    file: `darwin-${arch}/odradek.node`,
    zig: `${machine}-macos.${macosFloor}`,
    os: 'mac',
    binary: {
      format: 'Mach-O',
      arch,
      macosFloor,
      libraries: ['/usr/lib/libSystem.B.dylib'],
      // zig's linker takes no list of exports, and adds two names of the library's own header.
      exports,
      mayExport: ['__dso_handle', '_mh_dylib_header'],
      maxBytes,
    },
  };
}

/** Named as prebuildify names them, which is where node-gyp-build looks. */
export const targets = [
  glibc('x64', 'x86_64', 'ld-linux-x86-64.so.2'),
  musl('x64', 'x86_64'),
  glibc('arm64', 'aarch64', 'ld-linux-aarch64.so.1'),
  musl('arm64', 'aarch64'),
  darwin('x64', 'x86_64'),
  darwin('arm64', 'aarch64'),
];

/**
 * Those named, or all; throws if there is none of a name.
 *
 * @param {string[]} names
 */
export function chooseTargets(names) {
  if (names.length === 0) return targets;
  return names.map((name) => {
    const found = targets.find((target) => target.name === name);
    if (found !== undefined) return found;
    const known = targets.map((target) => target.name).join(', ');
    throw new Error(`there is no target ${name}; known are ${known}`);
  });
}
