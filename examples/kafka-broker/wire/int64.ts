/**
 * The protocol's 64-bit integers as numbers: offsets, timestamps and ids are far below 2^53. What
 * isn't, from a client that makes things up, becomes the largest number that is exact.
 */
export function toNumber(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  return number < 0 ? Number.MIN_SAFE_INTEGER : Number.MAX_SAFE_INTEGER;
}
