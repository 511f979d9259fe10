// Reads of a shared library in ELF (64 bits, little-endian) what its loader reads: the program headers
// and what the dynamic section leads to. Sections are for linkers, and may be stripped.

const machines = new Map([
  [62, 'x64'],
  [183, 'arm64'],
]);

const segment = { load: 1, dynamic: 2, stack: 0x6474e551, relro: 0x6474e552 };
const tag = {
  needed: 1,
  strtab: 5,
  symtab: 6,
  rpath: 15,
  runpath: 29,
  gnuHash: 0x6ffffef5,
  hash: 4,
  flags: 30,
  versym: 0x6ffffff0,
  flags1: 0x6ffffffb,
  verneed: 0x6ffffffe,
  verneednum: 0x6fffffff,
};
const flagNow = 0x8; // DF_BIND_NOW
const flag1 = { now: 0x1, nodelete: 0x8 };
const executable = 0x1;
const symbolBytes = 24;

export function isElf(bytes) {
  return bytes.length > 64 && bytes.readUInt32BE(0) === 0x7f454c46;
}

/** @param {Buffer} bytes of the file; throws if they are no such library */
export function readElf(bytes) {
  if (!isElf(bytes)) throw new Error('no ELF file');
  if (bytes[4] !== 2 || bytes[5] !== 1) throw new Error('not ELF of 64 bits, little-endian');
  const headers = readHeaders(bytes);
  const dynamic = headers.find((header) => header.type === segment.dynamic);
  if (dynamic === undefined) throw new Error('an ELF file without a dynamic section');
  const file = new Dynamic(bytes, headers, dynamic);
  const stack = headers.find((header) => header.type === segment.stack);
  return {
    format: 'ELF',
    arch: machines.get(bytes.readUInt16LE(18)) ?? `machine ${bytes.readUInt16LE(18)}`,
    isShared: bytes.readUInt16LE(16) === 3,
    libraries: file.all(tag.needed).map((offset) => file.string(offset)),
    searchPaths: [...file.all(tag.rpath), ...file.all(tag.runpath)].map((at) => file.string(at)),
    isNodelete: (file.one(tag.flags1) & flag1.nodelete) !== 0,
    isBoundNow: (file.one(tag.flags1) & flag1.now) !== 0 || (file.one(tag.flags) & flagNow) !== 0,
    isRelro: headers.some((header) => header.type === segment.relro),
    hasExecutableStack: stack === undefined || (stack.flags & executable) !== 0,
    ...file.symbols(),
  };
}

function readHeaders(bytes) {
  const start = Number(bytes.readBigUInt64LE(32));
  const size = bytes.readUInt16LE(54);
  return Array.from({ length: bytes.readUInt16LE(56) }, (_none, index) => {
    const at = start + index * size;
    return {
      type: bytes.readUInt32LE(at),
      flags: bytes.readUInt32LE(at + 4),
      offset: Number(bytes.readBigUInt64LE(at + 8)),
      address: Number(bytes.readBigUInt64LE(at + 16)),
      size: Number(bytes.readBigUInt64LE(at + 32)),
    };
  });
}

class Dynamic {
  #bytes;
  #loads;
  #entries = [];
  #strings;

  constructor(bytes, headers, dynamic) {
    this.#bytes = bytes;
    this.#loads = headers.filter((header) => header.type === segment.load);
    for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
      const entry = Number(bytes.readBigUInt64LE(at));
      if (entry === 0) break;
      this.#entries.push({ tag: entry, value: Number(bytes.readBigUInt64LE(at + 8)) });
    }
    this.#strings = this.#offsetOf(this.one(tag.strtab));
  }

  all(wanted) {
    return this.#entries.filter((entry) => entry.tag === wanted).map((entry) => entry.value);
  }

  /** 0 where there is none. */
  one(wanted) {
    return this.all(wanted)[0] ?? 0;
  }

  string(offset) {
    const start = this.#strings + offset;
    return this.#bytes.toString('latin1', start, this.#bytes.indexOf(0, start));
  }

  /** What it exports, and what it imports with the version asked for (null: none). */
  symbols() {
    const bytes = this.#bytes;
    const versions = this.#versions();
    const table = this.#offsetOf(this.one(tag.symtab));
    const versym = this.one(tag.versym);
    const exports = [];
    const imports = [];
    for (let index = 1; index < this.#symbolCount(); index++) {
      const at = table + index * symbolBytes;
      const name = this.string(bytes.readUInt32LE(at));
      const isLocal = bytes[at + 4] >> 4 === 0;
      const isHidden = (bytes[at + 5] & 3) !== 0;
      if (isLocal || isHidden || name === '') continue;
      if (bytes.readUInt16LE(at + 6) !== 0) {
        exports.push(name);
        continue;
      }
      const number = versym === 0 ? 0 : bytes.readUInt16LE(this.#offsetOf(versym) + index * 2);
      const isWeak = bytes[at + 4] >> 4 === 2;
      imports.push({ name, isWeak, version: versions.get(number & 0x7fff) ?? null });
    }
    // Versions without a symbol count too: the loader looks for each of them.
    return { exports: exports.sort(), imports, versions: [...versions.values()].sort() };
  }

  /** The needed versions' names by their numbers. */
  #versions() {
    const bytes = this.#bytes;
    const names = new Map();
    const count = this.one(tag.verneednum);
    let at = count === 0 ? 0 : this.#offsetOf(this.one(tag.verneed));
    for (let library = 0; library < count; library++) {
      let version = at + bytes.readUInt32LE(at + 8);
      for (let left = bytes.readUInt16LE(at + 2); left > 0; left--) {
        names.set(bytes.readUInt16LE(version + 6), this.string(bytes.readUInt32LE(version + 8)));
        version += bytes.readUInt32LE(version + 12);
      }
      at += bytes.readUInt32LE(at + 12);
    }
    return names;
  }

  /** Nothing says it outright; of the two hash tables gcc makes the second alone. */
  #symbolCount() {
    const bytes = this.#bytes;
    if (this.one(tag.hash) !== 0) {
      return bytes.readUInt32LE(this.#offsetOf(this.one(tag.hash)) + 4);
    }
    if (this.one(tag.gnuHash) === 0) throw new Error('an ELF library without a hash table');
    const at = this.#offsetOf(this.one(tag.gnuHash));
    const buckets = bytes.readUInt32LE(at);
    const first = bytes.readUInt32LE(at + 4);
    const bucketsAt = at + 16 + bytes.readUInt32LE(at + 8) * 8;
    const chainsAt = bucketsAt + buckets * 4;
    let last = 0;
    for (let index = 0; index < buckets; index++) {
      last = Math.max(last, bytes.readUInt32LE(bucketsAt + index * 4));
    }
    if (last === 0) return first; // it exports nothing
    while ((bytes.readUInt32LE(chainsAt + (last - first) * 4) & 1) === 0) last++;
    return last + 1;
  }

  #offsetOf(address) {
    const load = this.#loads.find(
      (header) => address >= header.address && address < header.address + header.size,
    );
    if (load === undefined) throw new Error(`nothing is at address ${address}`);
    return address - load.address + load.offset;
  }
}
