import { expect } from 'vitest';

/** A frame with a 4-byte size, as the default framing has it. */
export function frame(payload: string | Uint8Array): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const size = Buffer.alloc(4);
  size.writeInt32BE(bytes.length);
  return Buffer.concat([size, bytes]);
}

export function frames(payloads: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(payloads.map(frame));
}

/** Bytes of a pattern in which a shift, a gap or a repetition shows. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Payloads of 4 bytes: 0, 1, 2, ... */
export function numbered(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(i);
    return bytes;
  });
}

/** Bytes written in hexadecimal, with spaces where they help; 'text' in quotes as it is. */
export function bytes(text: string): Buffer {
  const parts = text.match(/'[^']*'|[0-9a-fA-F]+/g) ?? [];
  return Buffer.concat(
    parts.map((part) =>
      part.startsWith("'") ? Buffer.from(part.slice(1, -1)) : Buffer.from(part, 'hex'),
    ),
  );
}

/** As `toEqual`, and quick for megabytes too. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return;
  let at = 0;
  while (actual[at] === expected[at]) at++;
  expect({
    length: actual.length,
    from: at,
    bytes: Buffer.from(actual.subarray(at, at + 16)),
  }).toEqual({
    length: expected.length,
    from: at,
    bytes: Buffer.from(expected.subarray(at, at + 16)),
  });
  throw new Error(`the bytes differ from ${at} on`);
}
