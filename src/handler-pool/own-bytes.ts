/** From here on memory is handed over: for less, a copy costs less than a transfer. */
const transferFrom = 16_384;

/** Bytes in memory of their own, for `postMessage`: it copies the whole of what a view is of. */
export interface OwnBytes {
  readonly bytes: Uint8Array;
  readonly transferList: readonly ArrayBuffer[];
}

/** Copies parts into one. Parts whose memory was transferred away count for nothing. */
export function ownBytes(parts: readonly Uint8Array[]): OwnBytes {
  let length = 0;
  for (const part of parts) length += part.byteLength;
  const memory = new ArrayBuffer(length);
  const bytes = new Uint8Array(memory);
  let at = 0;
  for (const part of parts) {
    if (part.byteLength > 0) bytes.set(part, at);
    at += part.byteLength;
  }
  return { bytes, transferList: length < transferFrom ? [] : [memory] };
}
