import { Writer } from '@platformatic/kafka';
import { describe, expect, test } from 'vitest';
import { ProtocolError, RequestReader } from '../../examples/kafka-broker/wire/request-reader.js';
import { ResponseWriter } from '../../examples/kafka-broker/wire/response-writer.js';

function readerOf(bytes: number[] | Buffer, flexible = false): RequestReader {
  const reader = new RequestReader(Buffer.from(bytes));
  reader.flexible = flexible;
  return reader;
}

describe.each([false, true])('what is written is read again, flexible: %s', (flexible) => {
  test('every type', () => {
    const output = new ResponseWriter(flexible)
      .int8(-5)
      .int16(-300)
      .int32(-70_000)
      .int64(2 ** 53 - 1)
      .boolean(true)
      .uuid('00112233-4455-6677-8899-aabbccddeeff')
      .string('Gregor')
      .string(null)
      .bytes(Buffer.alloc(70_000, 'x'))
      .bytes(null);
    output.array([1, 2, 3], (value) => output.int32(value));
    output.list(['a', 'b'], (value) => output.string(value));
    output.tags();
    const input = readerOf(Buffer.concat(output.finish()), flexible);
    expect([input.int8(), input.int16(), input.int32()]).toEqual([-5, -300, -70_000]);
    expect([input.int64(), input.boolean()]).toEqual([2 ** 53 - 1, true]);
    expect(input.uuid()).toBe('00112233-4455-6677-8899-aabbccddeeff');
    expect([input.string(), input.nullableString()]).toEqual(['Gregor', null]);
    expect(input.bytes().equals(Buffer.alloc(70_000, 'x'))).toBe(true);
    expect(input.nullableBytes()).toBeNull();
    expect(input.array(() => input.int32())).toEqual([1, 2, 3]);
    expect(input.list(() => input.string())).toEqual(['a', 'b']);
    input.tags();
    expect(() => input.int8()).toThrow(ProtocolError);
  });
});

test('numbers that are not exact become the largest that are', () => {
  const largest = readerOf([0x7f, ...Array(7).fill(0xff), 0x80, ...Array(7).fill(0)]);
  expect(largest.int64()).toBe(Number.MAX_SAFE_INTEGER);
  expect(largest.int64()).toBe(Number.MIN_SAFE_INTEGER);
});

test.each([
  0,
  1,
  -1,
  2 ** 31,
  2 ** 32,
  -(2 ** 32),
  -(2 ** 32) - 1,
  2 ** 40 + 5,
  Number.MAX_SAFE_INTEGER,
  Number.MIN_SAFE_INTEGER,
])('%d is written as a bigint would be, and read again', (value) => {
  const [bytes] = new ResponseWriter(false).int64(value).finish();
  expect(bytes?.readBigInt64BE(0)).toBe(BigInt(value));
  expect(readerOf(bytes as Buffer).int64()).toBe(value);
});

test('a response of any size is written in order, whatever room the writer began with', () => {
  const large = Buffer.alloc(5000, 'y');
  const output = new ResponseWriter(true);
  for (let i = 0; i < 1000; i++) {
    output.int32(i).string('z'.repeat(i));
    if (i % 100 === 99) output.bytes(large);
  }
  const input = readerOf(Buffer.concat(output.finish()), true);
  for (let i = 0; i < 1000; i++) {
    expect(input.int32()).toBe(i);
    expect(input.string()).toBe('z'.repeat(i));
    if (i % 100 === 99) expect(input.bytes().equals(large)).toBe(true);
  }
});

test('tagged fields of any number and size are skipped', () => {
  const writer = Writer.create().appendUnsignedVarInt(2);
  writer.appendUnsignedVarInt(0).appendUnsignedVarInt(3).append(Buffer.from('abc'));
  writer.appendUnsignedVarInt(300).appendUnsignedVarInt(200).append(Buffer.alloc(200));
  const input = readerOf(Buffer.concat([writer.buffer, Buffer.from([7])]), true);
  input.tags();
  expect(input.int8()).toBe(7);
});

test('large fields leave as they were given, small ones together', () => {
  const large = Buffer.alloc(10_000, 1);
  const pieces = new ResponseWriter(false).int32(1).string('a').bytes(large).int8(2).finish();
  expect(pieces).toHaveLength(3);
  expect(pieces[1]).toBe(large);
});

describe('lengths that are not true', () => {
  const most = [0x7f, 0xff, 0xff, 0xff];
  const endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
  const longString = [...Writer.create().appendString('x'.repeat(32_768)).buffer];
  const largest = [0xff, 0xff, 0xff, 0xff, 0x0f];

  test.each<[string, number[], boolean, (input: RequestReader) => unknown]>([
    ['an integer that is cut short', [0, 0, 1], false, (input) => input.int32()],
    ['a string longer than the request', [0, 5, 65], false, (input) => input.string()],
    ['a string of negative length', [0xff, 0xfe, 65], false, (input) => input.nullableString()],
    ['a null string where there must be one', [0xff, 0xff], false, (input) => input.string()],
    ['bytes longer than the request', [...most, 1], false, (input) => input.bytes()],
    ['bytes of negative length', [0xff, 0, 0, 0], false, (input) => input.nullableBytes()],
    ['an array longer than the request', most, false, (input) => input.array(() => input.int8())],
    ['an array of negative length', [0x80, 0, 0, 0], false, (input) => input.array(() => 1)],
    ['a string of 32,768 bytes', longString, true, (input) => input.string()],
    ['a varint without end', endless, true, (input) => input.string()],
    ['a varint that is cut short', [0xff], true, (input) => input.string()],
    ['a compact string of the largest length', largest, true, (input) => input.string()],
    ['a compact array of the largest length', largest, true, (input) => input.list(() => 1)],
    ['tags without end', [...largest, 0, 0], true, (input) => input.tags()],
    ['a tag longer than the request', [1, 0, 100], true, (input) => input.tags()],
    ['nothing at all', [], true, (input) => input.int8()],
  ])('%s is refused', (_, bytes, flexible, read) => {
    expect(() => read(readerOf(bytes, flexible))).toThrow(ProtocolError);
  });

  test('arrays in arrays have a limit together', () => {
    const inner = Buffer.alloc(4 + 1000);
    inner.writeInt32BE(1000);
    const outer = Buffer.alloc(4);
    outer.writeInt32BE(300);
    const input = readerOf(Buffer.concat([outer, ...Array(300).fill(inner)]));
    expect(() => input.list(() => input.list(() => input.int8()))).toThrow(/array entries/);
  });
});
