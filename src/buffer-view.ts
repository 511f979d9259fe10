import { Buffer } from 'node:buffer';

type BufferView = new (memory: ArrayBufferLike, offset: number, length: number) => Buffer;

/**
 * A Buffer over existing memory, as `Buffer.from(memory, offset, length)` makes it, by the class that
 * Node's own `slice()` makes its views of: what `Buffer[Symbol.species]` names. It checks less and
 * costs half (`bench/crossing.mjs`).
 */
export const bufferView: (memory: ArrayBufferLike, offset: number, length: number) => Buffer =
  makeBufferView();

function makeBufferView(): typeof bufferView {
  const View = (Buffer as unknown as { [Symbol.species]?: BufferView })[Symbol.species];
  const isKnown =
    typeof View === 'function' &&
    View !== (Buffer as unknown as BufferView) &&
    Object.getPrototypeOf(new View(new ArrayBuffer(1), 0, 1)) === Buffer.prototype;
  if (isKnown) return (memory, offset, length) => new View(memory, offset, length);
  return (memory, offset, length) => Buffer.from(memory as ArrayBuffer, offset, length);
}
