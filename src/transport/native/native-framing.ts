import type { Framing } from '../../framing.js';
import type { NativeFraming } from './binding.js';
import { framingKinds, slabBytes } from './crossing.js';

const none = new Uint8Array(0);

/** A framing as the core reads it. `custom` is raw there: its frames are cut in TypeScript. */
export function toNativeFraming(framing: Framing): NativeFraming {
  const native: NativeFraming = {
    kind: framingKinds.raw,
    maxFrameBytes: framing.kind === 'custom' ? slabBytes : framing.maxFrameBytes,
    sizeBytes: 4,
    bigEndian: true,
    offset: 0,
    adjustment: 0,
    strip: 0,
    delimiter: none,
    stripDelimiter: true,
  };
  switch (framing.kind) {
    case 'lengthPrefixed':
      native.kind = framingKinds.lengthPrefixed;
      native.sizeBytes = framing.sizeBytes;
      native.bigEndian = framing.endianness === 'big';
      native.offset = framing.offset;
      native.adjustment = framing.adjustment;
      native.strip = framing.strip;
      break;
    case 'varintPrefixed':
      native.kind = framingKinds.varintPrefixed;
      break;
    case 'delimited':
      native.kind = framingKinds.delimited;
      native.delimiter = framing.delimiter;
      native.stripDelimiter = framing.strip;
      break;
    case 'raw':
    case 'custom':
      break;
  }
  return native;
}
