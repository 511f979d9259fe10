import { custom, delimited, type Framing, lengthPrefixed, raw, varintPrefixed } from 'odradek';
import { describe, expect, it } from 'vitest';
import { FrameDecoder } from '../src/frame-decoder.js';
import { bytes, expectBytes, frame, frames, pattern } from './support/bytes.js';

/** Pushes bytes in pieces and takes every frame as soon as it is there. */
function decode(decoder: FrameDecoder, pieces: readonly Buffer[]): Buffer[] {
  const bodies: Buffer[] = [];
  for (const piece of pieces) {
    decoder.push(piece);
    while (decoder.find()) bodies.push(decoder.take().body);
  }
  return bodies;
}

function cut(all: Buffer, pieceBytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < all.length; at += pieceBytes) {
    // A read of Node's has memory of its own.
    pieces.push(Buffer.from(new Uint8Array(all.subarray(at, at + pieceBytes)).buffer));
  }
  return pieces;
}

const payloads = [0, 1, 3, 0, 4, 17, 255, 1000, 5, 70_000, 2, 0, 300_000, 9].map((size, i) =>
  // No delimiter and no colon among them, so that they suit every framing.
  Buffer.from(pattern(size, i).map((byte) => (byte % 26) + 0x61)),
);

const cases: [string, Framing, (payload: Buffer) => Buffer][] = [
  ['lengthPrefixed', lengthPrefixed(), frame],
  [
    'lengthPrefixed, little endian and adjusted',
    lengthPrefixed({ sizeBytes: 8, endianness: 'little', adjustment: -8 }),
    (payload) => {
      const size = Buffer.alloc(8);
      size.writeBigInt64LE(BigInt(payload.length + 8));
      return Buffer.concat([size, payload]);
    },
  ],
  ['varintPrefixed', varintPrefixed(), (payload) => Buffer.concat([varint(payload), payload])],
  ['delimited', delimited('\r\n'), (payload) => Buffer.concat([payload, Buffer.from('\r\n')])],
  [
    'custom',
    custom((all) => {
      const end = all.indexOf(0x3a);
      return end === -1 ? null : { length: end + 1, bodyEnd: end };
    }),
    (payload) => Buffer.concat([payload, Buffer.from(':')]),
  ],
];

describe('the frame decoder', () => {
  describe.each(cases)('%s', (_name, framing, encode) => {
    const encoded = Buffer.concat(payloads.map(encode));
    const small = Buffer.concat(payloads.slice(0, 9).map(encode));

    it.each([2, 3, 7, 64, 1000, 65_536, 1_000_000])(
      'finds the frames in pieces of %i bytes',
      (size) => {
        const decoder = new FrameDecoder(framing, false);
        const bodies = decode(decoder, cut(size < 64 ? small : encoded, size));
        expect(bodies).toHaveLength(size < 64 ? 9 : payloads.length);
        for (const [i, body] of bodies.entries()) expectBytes(body, payloads[i] as Buffer);
        expect(decoder.isEmpty).toBe(true);
        expect(decoder.failure).toBeNull();
      },
    );

    it('finds them all although it is asked only after everything has come', () => {
      const decoder = new FrameDecoder(framing, true);
      for (const piece of cut(encoded, 1021)) decoder.push(piece);
      const bodies = decode(decoder, [Buffer.alloc(0)]);
      expect(bodies).toHaveLength(payloads.length);
      for (const [i, body] of bodies.entries()) {
        expectBytes(body, payloads[i] as Buffer);
        expect([body.byteOffset, body.buffer.byteLength]).toEqual([0, body.length]);
      }
    });

    it('says that a frame is unfinished', () => {
      const decoder = new FrameDecoder(framing, false);
      const [last] = payloads.slice(-1).map(encode) as [Buffer];
      expect(decode(decoder, [small, last.subarray(0, -1)])).toHaveLength(9);
      expect(decoder.isEmpty).toBe(false);
      expect(decode(decoder, [last.subarray(-1)])).toEqual(payloads.slice(-1));
      expect(decoder.isEmpty).toBe(true);
    });

    it('pins at most 64 KiB more than a body', () => {
      const bodies = decode(new FrameDecoder(framing, false), cut(encoded, 65_536));
      for (const body of bodies) {
        expect(body.buffer.byteLength - body.length).toBeLessThanOrEqual(65_536);
      }
    });

    it('never writes under a body again', () => {
      const decoder = new FrameDecoder(framing, false);
      const bodies = decode(decoder, cut(Buffer.concat([encoded, encoded, encoded]), 911));
      for (const [i, body] of bodies.entries()) {
        expectBytes(body, payloads[i % payloads.length] as Buffer);
      }
    });
  });

  it('hands raw bytes over as views, none larger than it may be', () => {
    const piece = pattern(1000);
    const bodies = decode(new FrameDecoder(raw({ maxFrameBytes: 300 }), false), [piece]);
    expect(bodies.map((body) => body.length)).toEqual([300, 300, 300, 100]);
    expect(bodies.every((body) => body.buffer === piece.buffer)).toBe(true);
  });

  it('does not copy what came in one piece', () => {
    const piece = frames([pattern(100), pattern(60_000)]);
    const bodies = decode(new FrameDecoder(lengthPrefixed(), false), [piece]);
    expect(bodies.every((body) => body.buffer === piece.buffer)).toBe(true);
  });

  it('asks for little memory on the word of a prefix', () => {
    const before = process.memoryUsage().arrayBuffers;
    const decoders = Array.from({ length: 100 }, () => new FrameDecoder(lengthPrefixed(), false));
    for (const decoder of decoders) {
      // 100 MiB are announced, 1 KiB comes.
      decode(decoder, cut(Buffer.concat([bytes('06400000'), pattern(1024)]), 100));
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * 2 * 65_536);
    expect(decoders.every((decoder) => decoder.failure === null)).toBe(true);
  });

  it('ends with OUT_OF_MEMORY where the engine refuses memory', () => {
    const { allocUnsafeSlow } = Buffer;
    const decoder = new FrameDecoder(lengthPrefixed(), false);
    decoder.push(frame(pattern(100)).subarray(0, 50));
    expect(decoder.find()).toBe(false);
    Buffer.allocUnsafeSlow = () => {
      throw new RangeError('Array buffer allocation failed');
    };
    try {
      decoder.push(pattern(10));
      expect(decoder.find()).toBe(false);
    } finally {
      Buffer.allocUnsafeSlow = allocUnsafeSlow;
    }
    expect(decoder.failure).toMatchObject({
      code: 'OUT_OF_MEMORY',
      message: 'Array buffer allocation failed',
    });
    decoder.push(pattern(100));
    expect(decoder.find()).toBe(false);
  });

  it('finds nothing more after a failure, until it begins anew', () => {
    const decoder = new FrameDecoder(lengthPrefixed(), false);
    const behind = Buffer.from('\xff\xff\xff\xffline\n', 'latin1');
    expect(decode(decoder, [frame('a'), behind, Buffer.from('next\n')])).toEqual([
      Buffer.from('a'),
    ]);
    expect(decoder.failure?.code).toBe('FRAME_LENGTH_INVALID');
    expect(decoder.find()).toBe(false);
    decoder.restart(delimited('\n'), [frame('x\n')]);
    const lines = decode(decoder, [Buffer.alloc(0)]).map((body) => body.toString('latin1'));
    expect(lines).toEqual(['\0\0\0\x02x', '\xff\xff\xff\xffline', 'next']);
  });
});

function varint(payload: Buffer): Buffer {
  const groups: number[] = [];
  let rest = payload.length;
  for (; rest > 127; rest = Math.floor(rest / 128)) groups.push((rest % 128) | 128);
  return Buffer.from([...groups, rest]);
}
