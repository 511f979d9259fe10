import {
  custom,
  delimited,
  type Framing,
  lengthPrefixed,
  OdradekError,
  raw,
  type Split,
  type SplitFrame,
  varintPrefixed,
} from 'odradek';
import { describe, expect, it } from 'vitest';
import { bytes, expectBytes, frame, frames, numbered, pattern } from './support/bytes.js';
import type { Client } from './support/client.js';
import { startServer, type TestServer } from './support/server.js';
import { transports } from './support/transports.js';

describe.each(transports)('framing (%s)', (transport) => {
  /** An echo server of one framing, a client, and the bodies that the handler saw. */
  async function echo(framing: Framing, options: { frameReplies?: boolean } = {}) {
    const bodies: Buffer[] = [];
    const testServer = await startServer(transport, {
      framing,
      ...options,
      handler: (request) => {
        bodies.push(request.body);
        return request.body;
      },
    });
    return { testServer, client: await testServer.connect(), bodies };
  }

  /** Sends bytes that break the framing, and sees their connection end for that reason. */
  async function expectRefused(
    framing: Framing,
    broken: Buffer,
    code: string,
    message: RegExp = /./,
  ): Promise<void> {
    const { testServer, client, bodies } = await echo(framing, { frameReplies: false });
    client.send(broken);
    await expectEnd(testServer, client, '');
    const reason = testServer.closed.all[0];
    expect(reason).toMatchObject({ code, unanswered: 0 });
    expect(reason?.message).toMatch(message);
    expect(bodies).toHaveLength(0);
  }

  async function expectEnd(testServer: TestServer, client: Client, rest: string): Promise<void> {
    expect((await client.readToEnd()).toString()).toBe(rest);
    await testServer.closed.next();
  }

  describe('lengthPrefixed', () => {
    it('puts together what comes byte by byte', async () => {
      const { client } = await echo(lengthPrefixed());
      const sent = frames(['one', '', 'three', 'x'.repeat(40)]);
      await client.sendInPieces(sent, 1);
      expectBytes(await client.read(sent.length), sent);
    });

    it('takes thousands of frames from one segment', async () => {
      const { client } = await echo(lengthPrefixed());
      const sent = frames(numbered(20_000));
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
    });

    it('puts a frame together from many segments', async () => {
      const { client } = await echo(lengthPrefixed());
      const sent = frames(['before', pattern(300_001), 'after']);
      await client.sendInPieces(sent, 7919);
      expectBytes(await client.read(sent.length), sent);
    });

    it('cuts frames rightly wherever the segments end', async () => {
      const { client } = await echo(lengthPrefixed());
      const sent = frames(Array.from({ length: 60 }, (_, i) => pattern((i * 37) % 101, i)));
      for (const pieceBytes of [2, 3, 5, 64, 101, 1000]) {
        await client.sendInPieces(sent, pieceBytes);
        expectBytes(await client.read(sent.length), sent);
      }
    });

    it('has frames of length zero', async () => {
      const { client, bodies } = await echo(lengthPrefixed());
      client.send(Buffer.alloc(4 * 1000));
      expectBytes(await client.read(4000), Buffer.alloc(4000));
      expect(bodies).toHaveLength(1000);
      expect(bodies.every((body) => body.length === 0)).toBe(true);
    });

    it.each([65_535, 65_536, 65_537, 1_048_576, 20_971_520])('echoes %i bytes', async (length) => {
      const { client } = await echo(lengthPrefixed());
      const sent = frame(pattern(length));
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
    });

    it('echoes large and small frames that come together', async () => {
      const { client } = await echo(lengthPrefixed());
      const payloads = [10, 70_000, 0, 16_384, 1, 1_000_000, 5, 65_536, 17].map(pattern);
      const sent = frames([...payloads, ...payloads]);
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
    });

    it('takes a frame of the maximum, and refuses one byte more on the prefix', async () => {
      const { testServer, client } = await echo(lengthPrefixed({ maxFrameBytes: 1000 }));
      const sent = frame(pattern(1000));
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
      client.send(bytes('000003e9'));
      await expectEnd(testServer, client, '');
      expect(testServer.closed.all).toEqual([
        {
          code: 'FRAME_TOO_LARGE',
          message: expect.stringContaining('1001'),
          unanswered: 0,
        },
      ]);
    });

    it.each([
      ['negative', lengthPrefixed(), 'ffffffff', 'FRAME_LENGTH_INVALID'],
      ['negative, though adjusted', counts(4, 10), 'ffffffff', 'FRAME_LENGTH_INVALID'],
      ['most negative', lengthPrefixed(), '80000000', 'FRAME_LENGTH_INVALID'],
      ['absurd', lengthPrefixed(), '7fffffff', 'FRAME_TOO_LARGE'],
      ['above the default maximum', lengthPrefixed(), '06400001', 'FRAME_TOO_LARGE'],
      ['an HTTP request', lengthPrefixed(), "'GET / HTTP/1.1'", 'FRAME_TOO_LARGE'],
      ['little endian, negative', little(4), '000000ff', 'FRAME_LENGTH_INVALID'],
      ['little endian, too large', little(4), '00000040', 'FRAME_TOO_LARGE'],
      ['1 byte', max(1, 100), '65', 'FRAME_TOO_LARGE'],
      ['2 bytes', max(2, 65_000), 'ffff', 'FRAME_TOO_LARGE'],
      ['3 bytes', max(3, 1000), '800000', 'FRAME_TOO_LARGE'],
      ['8 bytes, negative', max(8, 1000), 'ffffffffffffffff', 'FRAME_LENGTH_INVALID'],
      ['8 bytes, high half', max(8, 1000), '0000000100000001', 'FRAME_TOO_LARGE'],
      ['8 bytes, largest', max(8, 1000), '7fffffffffffffff', 'FRAME_TOO_LARGE'],
      ['8 bytes, little endian, negative', little(8), '0100000000000080', 'FRAME_LENGTH_INVALID'],
      [
        'less than its own field, kept',
        lengthPrefixed({ sizeBytes: 2, adjustment: -2, strip: 0 }),
        '0001',
        'FRAME_LENGTH_INVALID',
      ],
      ['less than nothing', counts(2, -2), '0001', 'FRAME_LENGTH_INVALID'],
      ['adjusted beyond the maximum', adjusted(2, 10, 100), '005b', 'FRAME_TOO_LARGE'],
      [
        'shorter than what goes off',
        lengthPrefixed({ strip: 10 }),
        '00000005',
        'FRAME_LENGTH_INVALID',
      ],
    ])('refuses a length that is %s', async (_name, framing, prefix, code) => {
      await expectRefused(framing, bytes(prefix), code);
    });

    it.each([
      ['1', lengthPrefixed({ sizeBytes: 1 }), "05'hello'"],
      ['1, largest', lengthPrefixed({ sizeBytes: 1 }), `ff'${'x'.repeat(255)}'`],
      ['2', lengthPrefixed({ sizeBytes: 2 }), "0005'hello'"],
      ['2, above 32767', lengthPrefixed({ sizeBytes: 2 }), `8001'${'x'.repeat(32_769)}'`],
      ['3', lengthPrefixed({ sizeBytes: 3 }), "000005'hello'"],
      ['4', lengthPrefixed({ sizeBytes: 4 }), "00000005'hello'"],
      ['8', lengthPrefixed({ sizeBytes: 8 }), "0000000000000005'hello'"],
      ['2, little', little(2), "0500'hello'"],
      ['3, little', little(3), "050000'hello'"],
      ['3, little, middle byte', little(3), `002c00'${'x'.repeat(11_264)}'`],
      ['4, little', little(4), "05000000'hello'"],
      ['8, little', little(8), "0500000000000000'hello'"],
    ])('reads and writes length fields of %s bytes', async (_name, framing, sent) => {
      const { client, bodies } = await echo(framing);
      const each = bytes(sent);
      client.send(each, each);
      expectBytes(await client.read(2 * each.length), Buffer.concat([each, each]));
      expect(bodies[1]?.length).toBe(each.length - framing.sizeBytes);
    });

    // The examples in the documentation of Netty's LengthFieldBasedFrameDecoder, in its order.
    it.each([
      ['2 bytes at 0, header kept', { sizeBytes: 2, strip: 0 }, "000c'HELLO, WORLD'", 0],
      ['2 bytes at 0, header cut off', { sizeBytes: 2, strip: 2 }, "000c'HELLO, WORLD'", 2],
      [
        'the length of the whole message',
        { sizeBytes: 2, adjustment: -2, strip: 0 },
        "000e'HELLO, WORLD'",
        0,
      ],
      [
        '3 bytes at the end of a 5-byte header',
        { offset: 2, sizeBytes: 3 },
        "cafe 00000c 'HELLO, WORLD'",
        0,
      ],
      [
        '3 bytes at the beginning of a 5-byte header',
        { sizeBytes: 3, adjustment: 2, strip: 0 },
        "00000c cafe 'HELLO, WORLD'",
        0,
      ],
      [
        '2 bytes in the middle of a 4-byte header, its front cut off',
        { offset: 1, sizeBytes: 2, adjustment: 1, strip: 3 },
        "ca 000c fe 'HELLO, WORLD'",
        3,
      ],
      [
        'the same with the length of the whole message',
        { offset: 1, sizeBytes: 2, adjustment: -3, strip: 3 },
        "ca 0010 fe 'HELLO, WORLD'",
        3,
      ],
    ] as const)("reads Netty's example: %s", async (_name, options, message, strip) => {
      const { client, bodies } = await echo(lengthPrefixed(options), { frameReplies: false });
      const sent = bytes(message);
      await client.sendInPieces(Buffer.concat([sent, sent]), 5);
      const body = sent.subarray(strip);
      expectBytes(await client.read(2 * body.length), Buffer.concat([body, body]));
      expect(bodies).toEqual([body, body]);
    });

    it('writes the length as it reads it, adjusted', async () => {
      const { client, bodies } = await echo(lengthPrefixed({ sizeBytes: 2, adjustment: -2 }));
      client.send(bytes("0007'hello' 0002"));
      expectBytes(await client.read(9), bytes("0007'hello' 0002"));
      expect(bodies.map(String)).toEqual(['hello', '']);
    });

    it('gives a reply that its length field cannot say to the error path', async () => {
      const errors: unknown[] = [];
      const testServer = await startServer(transport, {
        framing: lengthPrefixed({ sizeBytes: 1 }),
        handler: ({ body }) => (body.toString() === 'big' ? Buffer.alloc(256) : body),
        onHandlerError: (error) => {
          errors.push(error);
          return Buffer.from('too large');
        },
      });
      const client = await testServer.connect();
      client.send(bytes("03'big' 05'small'"));
      expectBytes(await client.read(16), bytes("09'too large' 05'small'"));
      expect(errors).toHaveLength(1);
      expect(errors[0]).toBeInstanceOf(OdradekError);
      expect(errors[0]).toMatchObject({ code: 'ERR_ODRADEK_REPLY_TOO_LARGE' });
    });

    it('leaves replies as they are where the handler frames them', async () => {
      const { client } = await echo(lengthPrefixed(), { frameReplies: false });
      client.send(frames(['a', 'b', 'c']));
      expect((await client.read(3)).toString()).toBe('abc');
    });
  });

  describe('varintPrefixed', () => {
    it.each([0, 1, 127, 128, 16_383, 16_384, 70_000, 2_097_152])(
      'echoes %i bytes',
      async (length) => {
        const { client } = await echo(varintPrefixed());
        const sent = Buffer.concat([varint(length), pattern(length)]);
        client.send(sent, sent);
        expectBytes(await client.read(2 * sent.length), Buffer.concat([sent, sent]));
      },
    );

    it('puts together what comes byte by byte', async () => {
      const { client } = await echo(varintPrefixed());
      const sent = Buffer.concat([varint(200), pattern(200), varint(0), varint(3), pattern(3)]);
      await client.sendInPieces(sent, 1);
      expectBytes(await client.read(sent.length), sent);
    });

    it('reads lengths with needless groups', async () => {
      const { client, bodies } = await echo(varintPrefixed());
      client.send(bytes("8580808000'hello'"));
      expectBytes(await client.read(6), bytes("05'hello'"));
      expect(bodies.map(String)).toEqual(['hello']);
    });

    it.each([
      ['one byte above the maximum', varint(1001), 'FRAME_TOO_LARGE'],
      ['above 32 bits', bytes('ffffffff7f'), 'FRAME_TOO_LARGE'],
      ['without an end', bytes('8080808080'), 'FRAME_INVALID'],
    ])('refuses a length %s', async (_name, prefix, code) => {
      await expectRefused(varintPrefixed({ maxFrameBytes: 1000 }), prefix, code);
    });

    it('takes a frame of the maximum', async () => {
      const { client } = await echo(varintPrefixed({ maxFrameBytes: 1000 }));
      const sent = Buffer.concat([varint(1000), pattern(1000)]);
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
    });
  });

  describe('delimited', () => {
    it('serves lines, empty ones too', async () => {
      const { client, bodies } = await echo(delimited('\n'));
      client.send(Buffer.from('one\n\ntwo\nthree\n'));
      expect((await client.read(15)).toString()).toBe('one\n\ntwo\nthree\n');
      expect(bodies.map(String)).toEqual(['one', '', 'two', 'three']);
    });

    it('finds a delimiter that comes in pieces, and no other', async () => {
      const { client, bodies } = await echo(delimited('\r\n'));
      const sent = Buffer.from('a\rb\r\r\n\r\n\nc\n\r\r\n');
      await client.sendInPieces(sent, 1);
      expectBytes(await client.read(sent.length), sent);
      expect(bodies.map(String)).toEqual(['a\rb\r', '', '\nc\n\r']);
    });

    it('takes any bytes as delimiter', async () => {
      const delimiter = Uint8Array.of(0, 255, 0);
      const { client, bodies } = await echo(delimited(delimiter));
      const sent = bytes("'a' 00 'b' 00ff 'c' 00ff00 00 00ff00 'd' 00ff00");
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
      expect(bodies).toEqual([bytes("'a' 00 'b' 00ff 'c'"), bytes('00'), bytes("'d'")]);
    });

    it('keeps the delimiter where it was told to', async () => {
      const { client, bodies } = await echo(delimited('\r\n', { strip: false }), {
        frameReplies: false,
      });
      client.send(Buffer.from('one\r\n\r\n'));
      expect((await client.read(7)).toString()).toBe('one\r\n\r\n');
      expect(bodies.map(String)).toEqual(['one\r\n', '\r\n']);
    });

    it('serves thousands of lines in one segment, and lines over many', async () => {
      const { client } = await echo(delimited('\r\n'));
      const many = Buffer.from(Array.from({ length: 5000 }, (_, i) => `line ${i}\r\n`).join(''));
      client.send(many);
      expectBytes(await client.read(many.length), many);
      const long = Buffer.from(`${'x'.repeat(200_000)}\r\n${'y'.repeat(100_000)}\r\nz\r\n`);
      await client.sendInPieces(long, 9973);
      expectBytes(await client.read(long.length), long);
    });

    it('takes a line of the maximum', async () => {
      const { client } = await echo(delimited('\r\n', { maxFrameBytes: 100 }));
      const sent = Buffer.from(`${'x'.repeat(100)}\r\n`);
      await client.sendInPieces(Buffer.concat([sent, sent]), 51);
      expectBytes(await client.read(2 * sent.length), Buffer.concat([sent, sent]));
    });

    it.each([
      ['one byte above the maximum', `${'x'.repeat(101)}\r\n`],
      ['without an end', 'x'.repeat(103)],
      ['with half an end', `${'x'.repeat(102)}\r`],
    ])('refuses a line %s', async (_name, line) => {
      await expectRefused(
        delimited('\r\n', { maxFrameBytes: 100 }),
        Buffer.from(line),
        'FRAME_TOO_LARGE',
      );
    });
  });

  describe('raw', () => {
    it('hands over the bytes as they come', async () => {
      const { client, bodies } = await echo(raw());
      const sent = pattern(500_000);
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
      expectBytes(Buffer.concat(bodies), sent);
      expect(Math.max(...bodies.map((body) => body.length))).toBeLessThanOrEqual(65_536);
      expect(Math.min(...bodies.map((body) => body.length))).toBeGreaterThan(0);
    });

    it('hands over no larger pieces than it may', async () => {
      const { client, bodies } = await echo(raw({ maxFrameBytes: 100 }));
      const sent = pattern(10_000);
      client.send(sent);
      expectBytes(await client.read(sent.length), sent);
      expectBytes(Buffer.concat(bodies), sent);
      expect(Math.max(...bodies.map((body) => body.length))).toBeLessThanOrEqual(100);
    });
  });

  describe('custom', () => {
    /** `<digits>:<that many bytes>,` as netstrings are. */
    const netstring: Split = (all) => {
      const colon = all.indexOf(':');
      if (colon === -1) {
        if (all.length > 9) throw new Error('no colon');
        return null;
      }
      const length = Number(all.toString('latin1', 0, colon));
      if (!Number.isInteger(length)) throw new Error('no number');
      const bodyEnd = colon + 1 + length;
      if (all.length <= bodyEnd) return null;
      if (all[bodyEnd] !== 0x2c) throw new Error('no comma');
      return { length: bodyEnd + 1, bodyStart: colon + 1, bodyEnd };
    };

    it('asks the function where frames end', async () => {
      const { client, bodies } = await echo(custom(netstring));
      client.send(Buffer.from('5:hello,0:,3:a,b,'));
      expect((await client.read(8)).toString()).toBe('helloa,b');
      expect(bodies.map(String)).toEqual(['hello', '', 'a,b']);
    });

    it('shows an unfinished frame again when more has come', async () => {
      const { client, bodies } = await echo(custom(netstring));
      await client.sendInPieces(Buffer.from('12:hello, world,1:x,'), 1);
      expect((await client.read(13)).toString()).toBe('hello, worldx');
      expect(bodies.map(String)).toEqual(['hello, world', 'x']);
    });

    it('takes thousands of frames from one segment, and a frame over many', async () => {
      const { client } = await echo(custom(netstring));
      client.send(Buffer.from('3:abc,'.repeat(10_000)));
      expectBytes(await client.read(30_000), Buffer.from('abc'.repeat(10_000)));
      const long = pattern(400_000);
      client.send(Buffer.from('400000:'), long, Buffer.from(',1:z,'));
      expectBytes(await client.read(400_001), Buffer.concat([long, Buffer.from('z')]));
    });

    it('takes the whole frame for the body unless told otherwise', async () => {
      const { client, bodies } = await echo(
        custom((all) => (all.length < 3 ? null : { length: 3 })),
      );
      client.send(Buffer.from('abcdef'));
      expect((await client.read(6)).toString()).toBe('abcdef');
      expect(bodies.map(String)).toEqual(['abc', 'def']);
    });

    it('ends the connection where the function throws', async () => {
      const framing = custom(netstring);
      await expectRefused(framing, Buffer.from('x:'), 'FRAME_INVALID', /no number/);
    });

    it.each<[string, unknown]>([
      ['undefined', undefined],
      ['a number', 3],
      ['no length', {}],
      ['a length of 0', { length: 0 }],
      ['a fraction', { length: 1.5 }],
      ['NaN', { length: Number.NaN }],
      ['more than there is', { length: 5 }],
      ['a body before the frame', { length: 4, bodyStart: -1 }],
      ['a body behind the frame', { length: 2, bodyEnd: 3 }],
      ['a body that ends before it begins', { length: 4, bodyStart: 3, bodyEnd: 2 }],
    ])('ends the connection where the function returns %s', async (_name, result) => {
      const framing = custom(() => result as SplitFrame);
      await expectRefused(framing, Buffer.from('abcd'), 'FRAME_INVALID');
    });

    it('bounds frames that never end, and those that end too late', async () => {
      await expectRefused(
        custom(() => null, { maxFrameBytes: 10 }),
        Buffer.alloc(11),
        'FRAME_TOO_LARGE',
      );
      await expectRefused(
        custom((all) => ({ length: all.length }), { maxFrameBytes: 10 }),
        Buffer.alloc(11),
        'FRAME_TOO_LARGE',
      );
      const { client } = await echo(
        custom((all) => (all.length < 10 ? null : { length: 10 }), { maxFrameBytes: 10 }),
      );
      client.send(pattern(10));
      expectBytes(await client.read(10), pattern(10));
    });
  });

  describe('bytes that break the framing', () => {
    it('leave the requests before them answered', async () => {
      const testServer = await startServer(transport, {
        handler: async ({ body }) => {
          await new Promise((resolve) => setImmediate(resolve));
          return body;
        },
      });
      const client = await testServer.connect();
      client.send(frames(['a', 'b', 'c']), bytes('ffffffff'));
      expectBytes(await client.readToEnd(), frames(['a', 'b', 'c']));
      expect(await testServer.closed.next()).toMatchObject({
        code: 'FRAME_LENGTH_INVALID',
        unanswered: 0,
      });
    });

    it('end their own connection alone', async () => {
      const { testServer, client } = await echo(lengthPrefixed());
      const other = await testServer.connect();
      other.send(frame('before'));
      expect(await other.readText()).toBe('before');
      client.send(bytes('ffffffff'));
      await testServer.closed.next();
      other.send(frame('after'));
      expect(await other.readText()).toBe('after');
      expect(testServer.closed.all).toHaveLength(1);
    });

    it('do not turn the last reply into a reset, however much lies behind them', async () => {
      const { testServer, client } = await echo(lengthPrefixed());
      client.send(frame('last'), bytes('ffffffff'), pattern(300_000));
      expect((await client.readToEnd()).subarray(4).toString()).toBe('last');
      expect(await testServer.closed.next()).toMatchObject({ code: 'FRAME_LENGTH_INVALID' });
    });
  });

  describe('a frame that the client leaves unfinished', () => {
    it.each([
      ['a size', lengthPrefixed(), bytes('000000')],
      ['a body', lengthPrefixed(), bytes("00000005'hell'")],
      ['a large body', lengthPrefixed(), bytes("00100000'hell'")],
      ['a varint', varintPrefixed(), bytes('80')],
      ['a varint body', varintPrefixed(), bytes("05'hell'")],
      ['a line', delimited('\r\n'), bytes("'hell' 0d")],
      ['a custom frame', custom(() => null), bytes("'hell'")],
    ])('is reported: %s', async (_name, framing, part) => {
      const { testServer, client, bodies } = await echo(framing);
      client.send(part);
      client.end();
      await expectEnd(testServer, client, '');
      expect(testServer.closed.all).toMatchObject([{ code: 'TRUNCATED_FRAME', unanswered: 0 }]);
      expect(bodies).toHaveLength(0);
    });

    it('is reported after the requests before it are answered', async () => {
      const { testServer, client } = await echo(lengthPrefixed());
      client.send(frame('whole'), bytes("00000005'hell'"));
      client.end();
      expectBytes(await client.readToEnd(), frame('whole'));
      expect(await testServer.closed.next()).toMatchObject({ code: 'TRUNCATED_FRAME' });
    });
  });
});

function little(sizeBytes: 1 | 2 | 3 | 4 | 8) {
  return lengthPrefixed({ sizeBytes, endianness: 'little' });
}

function max(sizeBytes: 1 | 2 | 3 | 4 | 8, maxFrameBytes: number) {
  return lengthPrefixed({ sizeBytes, maxFrameBytes });
}

function counts(sizeBytes: 1 | 2 | 3 | 4 | 8, adjustment: number) {
  return lengthPrefixed({ sizeBytes, adjustment });
}

function adjusted(sizeBytes: 1 | 2 | 3 | 4 | 8, adjustment: number, maxFrameBytes: number) {
  return lengthPrefixed({ sizeBytes, adjustment, maxFrameBytes });
}

function varint(value: number): Buffer {
  const groups: number[] = [];
  let rest = value;
  do {
    groups.push((rest % 128) | (rest > 127 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(groups);
}
