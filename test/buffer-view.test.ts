import { Buffer } from 'node:buffer';
import { expect, it } from 'vitest';
import { bufferView } from '../src/buffer-view.js';

it('a view is a Buffer like any other, over the memory itself', () => {
  const memory = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7).buffer;
  const view = bufferView(memory, 2, 4);
  expect(Buffer.isBuffer(view)).toBe(true);
  expect(Object.getPrototypeOf(view)).toBe(Buffer.prototype);
  expect([view.buffer, view.byteOffset, view.length]).toEqual([memory, 2, 4]);
  expect(view.readUInt32BE()).toBe(0x02030405);
  view[0] = 9;
  expect(new Uint8Array(memory)[2]).toBe(9);
});

it('a view beyond the memory is refused', () => {
  expect(() => bufferView(new ArrayBuffer(8), 4, 5)).toThrow(RangeError);
});
