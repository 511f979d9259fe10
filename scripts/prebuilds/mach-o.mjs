// Reads of a shared library in Mach-O (64 bits, one architecture) what its loader reads: the load
// commands, and the trie of exported symbols that they lead to.

const magic = 0xfeedfacf;
const machines = new Map([
  [0x01000007, 'x64'],
  [0x0100000c, 'arm64'],
]);
const types = { dylib: 6, bundle: 8 };
const command = {
  loadDylib: 0x0c,
  idDylib: 0x0d,
  loadWeakDylib: 0x80000018,
  reexportDylib: 0x8000001f,
  rpath: 0x8000001c,
  codeSignature: 0x1d,
  dyldInfo: 0x22,
  dyldInfoOnly: 0x80000022,
  buildVersion: 0x32,
  exportsTrie: 0x80000033,
};
const libraryCommands = [command.loadDylib, command.loadWeakDylib, command.reexportDylib];
const platformMacos = 1;

export function isMachO(bytes) {
  return bytes.length > 32 && bytes.readUInt32LE(0) === magic;
}

/** @param {Buffer} bytes of the file; throws if they are no such library */
export function readMachO(bytes) {
  if (!isMachO(bytes)) throw new Error('no Mach-O file of 64 bits');
  const commands = readCommands(bytes);
  const of = (...kinds) => commands.filter(({ kind }) => kinds.includes(kind));
  const build = of(command.buildVersion)[0];
  const id = of(command.idDylib)[0];
  const cpu = bytes.readUInt32LE(4);
  return {
    format: 'Mach-O',
    arch: machines.get(cpu) ?? `CPU ${cpu}`,
    isShared: Object.values(types).includes(bytes.readUInt32LE(12)),
    name: id === undefined ? null : stringOf(bytes, id.at),
    libraries: of(...libraryCommands).map(({ at }) => stringOf(bytes, at)),
    searchPaths: of(command.rpath).map(({ at }) => stringOf(bytes, at)),
    isMacos: build !== undefined && bytes.readUInt32LE(build.at + 8) === platformMacos,
    macosFloor: build === undefined ? null : versionOf(bytes.readUInt32LE(build.at + 12)),
    isSigned: of(command.codeSignature).length > 0,
    exports: readExports(bytes, of),
  };
}

function readCommands(bytes) {
  const commands = [];
  let at = 32;
  for (let left = bytes.readUInt32LE(16); left > 0; left--) {
    commands.push({ kind: bytes.readUInt32LE(at), at });
    at += bytes.readUInt32LE(at + 4);
  }
  return commands;
}

/** The string whose offset follows the command's kind and size. */
function stringOf(bytes, at) {
  const start = at + bytes.readUInt32LE(at + 8);
  return bytes.toString('latin1', start, bytes.indexOf(0, start));
}

function versionOf(packed) {
  return `${packed >>> 16}.${(packed >>> 8) & 0xff}`;
}

/** Names without the underscore that C's have there. */
function readExports(bytes, of) {
  const [trie] = of(command.exportsTrie);
  const [info] = of(command.dyldInfo, command.dyldInfoOnly);
  if (trie === undefined && info === undefined) throw new Error('Mach-O without an export trie');
  const field = trie === undefined ? info.at + 40 : trie.at + 8;
  const start = bytes.readUInt32LE(field);
  const size = bytes.readUInt32LE(field + 4);
  const names = size === 0 ? [] : [...walk(bytes.subarray(start, start + size), 0, '')];
  return names.map((name) => name.replace(/^_/, '')).sort();
}

function* walk(trie, node, prefix) {
  const terminal = uleb(trie, node);
  if (terminal.value > 0) yield prefix;
  let at = terminal.next + terminal.value;
  const children = trie[at++];
  for (let child = 0; child < children; child++) {
    const end = trie.indexOf(0, at);
    const edge = trie.toString('latin1', at, end);
    const { value, next } = uleb(trie, end + 1);
    // A child lies behind its parent or the trie goes in circles.
    if (value <= node) throw new Error('a broken export trie');
    yield* walk(trie, value, prefix + edge);
    at = next;
  }
}

function uleb(bytes, at) {
  let value = 0;
  let scale = 1;
  for (;;) {
    const byte = bytes[at++];
    if (byte === undefined) throw new Error('a broken export trie');
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, next: at };
    scale *= 128;
  }
}
