/**
 * The protocol's 64-bit integers as numbers: offsets, timestamps and ids are far below 2^53. What
 * isn't, from a client that makes things up, becomes the largest number that is exact.
 */
export function toNumber(value: bigint): number {
  return exact(Number(value));
}

/** As {@link toNumber} of what is there, without making a bigint of it first. */
export function readInt64(bytes: Buffer, at: number): number {
  return exact(bytes.readInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4));
}

function exact(number: number): number {
  if (Number.isSafeInteger(number)) return number;
  return number < 0 ? Number.MIN_SAFE_INTEGER : Number.MAX_SAFE_INTEGER;
}

export function writeInt64(bytes: Buffer, value: number, at: number): void {
  bytes.writeInt32BE(Math.floor(value / 2 ** 32), at);
  bytes.writeUInt32BE(value - Math.floor(value / 2 ** 32) * 2 ** 32, at + 4);
}
