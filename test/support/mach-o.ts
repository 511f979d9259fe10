/** What a Mach-O library is made of, as far as its loader looks. */
export interface MachO {
  arch: 'x64' | 'arm64';
  libraries: readonly string[];
  exports: readonly string[];
  macos: readonly [number, number];
  rpath?: string;
  name?: string;
  isSigned: boolean;
}

/** A shared library without code: header, load commands, export trie. */
export function machO(made: MachO): Buffer {
  const commands = [
    ...made.libraries.map((path) => withString(0x0c, path, [2, 0, 0])),
    ...(made.name === undefined ? [] : [withString(0x0d, made.name, [2, 0, 0])]),
    ...(made.rpath === undefined ? [] : [withString(0x8000001c, made.rpath, [])]),
    words(0x32, 24, 1, (made.macos[0] << 16) | (made.macos[1] << 8), 0, 0),
    ...(made.isSigned ? [words(0x1d, 16, 0, 0)] : []),
  ];
  const trie = trieOf(made.exports);
  const size = commands.reduce((sum, command) => sum + command.length, 16);
  const dataAt = 32 + size;
  commands.push(words(0x80000033, 16, dataAt, trie.length));
  const cpu = made.arch === 'arm64' ? 0x0100000c : 0x01000007;
  const header = words(0xfeedfacf, cpu, 0, 6, commands.length, size, 0, 0);
  return Buffer.concat([header, ...commands, trie]);
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value >>> 0, index * 4);
  return bytes;
}

/** A command whose string stands behind its fields. */
function withString(kind: number, text: string, fields: number[]): Buffer {
  const start = 12 + fields.length * 4;
  const padded = Buffer.alloc(Math.ceil((text.length + 1) / 8) * 8);
  padded.write(text);
  return Buffer.concat([words(kind, start + padded.length, start, ...fields), padded]);
}

/** A root with one edge for each name, which ends there. */
function trieOf(names: readonly string[]): Buffer {
  const edges = names.map((name) => Buffer.from(`_${name}\0`));
  const rootBytes = edges.reduce((sum, edge) => sum + edge.length + 2, 2);
  // Offsets of two bytes each: longer than they need be, which the format allows.
  const parts = edges.flatMap((edge, index) => {
    const at = rootBytes + index * 4;
    return [edge, Buffer.from([(at & 0x7f) | 0x80, at >> 7])];
  });
  const leaves = edges.map(() => Buffer.from([2, 0, 0, 0]));
  return Buffer.concat([Buffer.from([0, names.length]), ...parts, ...leaves]);
}
