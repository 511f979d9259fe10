import {
  delimited,
  type Framing,
  type LengthPrefixedFraming,
  lengthPrefixed,
  raw,
  varintPrefixed,
} from '../../framing.js';
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

/** The framing that {@link toNativeFraming} was given. `custom` ones are not among these. */
export function fromNativeFraming(native: NativeFraming): Framing {
  const { kind, maxFrameBytes, offset, adjustment, strip } = native;
  switch (kind) {
    case framingKinds.lengthPrefixed:
      return lengthPrefixed({
        sizeBytes: native.sizeBytes as LengthPrefixedFraming['sizeBytes'],
        endianness: native.bigEndian ? 'big' : 'little',
        offset,
        adjustment,
        strip,
        maxFrameBytes,
      });
    case framingKinds.varintPrefixed:
      return varintPrefixed({ maxFrameBytes });
    case framingKinds.delimited:
      return delimited(native.delimiter, { strip: native.stripDelimiter, maxFrameBytes });
    default:
      return raw({ maxFrameBytes });
  }
}
