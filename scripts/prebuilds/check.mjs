// What a shipped binary has to be: made for its platform, and in need of nothing but the C library's own.
// No npm package reads both formats that far and is kept up, so elf.mjs and mach-o.mjs do.
import { isElf, readElf } from './elf.mjs';
import { readMachO } from './mach-o.mjs';

/** @param {Buffer} bytes of a file */
export function readBinary(bytes) {
  return isElf(bytes) ? readElf(bytes) : readMachO(bytes);
}

/** The highest glibc version that it asks for, or null. */
export function glibcOf(binary) {
  const versions = (binary.versions ?? [])
    .filter((version) => version.startsWith('GLIBC_'))
    .map((version) => version.slice('GLIBC_'.length));
  return versions.sort(compareVersions).at(-1) ?? null;
}

/**
 * What of a target's rules a binary breaks; empty if nothing.
 *
 * @param {Buffer} bytes of the file
 * @param {object} wanted `binary` of a target
 * @returns {string[]}
 */
export function problemsOf(bytes, wanted) {
  let binary;
  try {
    binary = readBinary(bytes);
  } catch (error) {
    return [`cannot be read: ${error.message}`];
  }
  const { format, arch } = wanted;
  if (binary.format !== format) return [`is ${binary.format}, not ${format}`];
  const problems = [
    binary.arch !== arch && `is for ${binary.arch}, not ${arch}`,
    !binary.isShared && 'is no shared library',
    ...unexpected(binary.libraries, wanted.libraries).map((name) => `needs ${name}`),
    ...binary.searchPaths.map((path) => `looks for libraries in ${path}`),
    ...unexpected(binary.exports, [...wanted.exports, ...(wanted.mayExport ?? [])]).map(
      (name) => `exports ${name}`,
    ),
    ...unexpected(wanted.exports, binary.exports).map((name) => `does not export ${name}`),
    bytes.length > wanted.maxBytes && `has ${bytes.length} bytes, more than ${wanted.maxBytes}`,
    ...(format === 'ELF' ? problemsOfElf(binary, wanted) : problemsOfMachO(binary, wanted)),
  ];
  return problems.filter((problem) => typeof problem === 'string');
}

function problemsOfElf(binary, wanted) {
  const glibc = glibcOf(binary);
  return [
    // Threads of ours may still run when the last environment lets go of the addon.
    !binary.isNodelete && 'may be unloaded (no nodelete)',
    !(binary.isBoundNow && binary.isRelro) && 'is writable where it need not be (no relro, now)',
    binary.hasExecutableStack && 'wants an executable stack',
    ...(wanted.glibcFloor === null
      ? binary.versions.map((version) => `asks for ${version}`)
      : problemsOfGlibc(binary, wanted, glibc)),
  ];
}

function problemsOfGlibc(binary, wanted, glibc) {
  const foreign = binary.versions.filter((version) => !/^GLIBC_[\d.]+$/.test(version));
  const isTooNew = glibc !== null && compareVersions(glibc, wanted.glibcFloor) > 0;
  return [
    glibc === null && 'asks for no version of glibc',
    isTooNew && `needs glibc ${glibc}, newer than ${wanted.glibcFloor}`,
    ...foreign.map((version) => `asks for ${version}`),
    // Everything of glibc's has a version; what has none must be Node's, and there N-API's.
    ...binary.imports
      .filter(({ name, version, isWeak }) => version === null && !isWeak && !isNapi(name))
      .map(({ name }) => `looks for ${name} in the process`),
  ];
}

function problemsOfMachO(binary, wanted) {
  const floor = binary.macosFloor;
  return [
    !binary.isMacos && 'is not for macOS',
    // A path of the machine that made it.
    binary.name?.startsWith('/') && `is named ${binary.name}`,
    floor !== null &&
      compareVersions(floor, wanted.macosFloor) > 0 &&
      `needs macOS ${floor}, newer than ${wanted.macosFloor}`,
    // The kernel kills what has no signature there; one made on the spot will do.
    binary.arch === 'arm64' && !binary.isSigned && 'is not signed',
  ];
}

function isNapi(name) {
  return /^(napi|node_api)_/.test(name);
}

function unexpected(names, allowed) {
  return names.filter((name) => !allowed.includes(name));
}

function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  for (let part = 0; part < Math.max(left.length, right.length); part++) {
    const difference = (left[part] ?? 0) - (right[part] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
