import {
  custom,
  delimited,
  type Framing,
  lengthPrefixed,
  raw,
  type Split,
  type SplitFrame,
  varintPrefixed,
} from 'odradek';
import { describe, expect, it } from 'vitest';
import { bytes, expectBytes, frame, frames, pattern } from './support/bytes.js';
import { expectEnd, expectRefused, startEcho } from './support/handlers.js';
import { startServer } from './support/server.js';
import { placements } from './support/transports.js';

describe.each(placements)('framing (%s)', (transport) => {
  const echo = (framing: Framing, options?: { frameReplies?: boolean }) =>
    startEcho(transport, framing, options);

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
      await expectRefused(transport, varintPrefixed({ maxFrameBytes: 1000 }), prefix, code);
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
        transport,
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
      await expectRefused(transport, framing, Buffer.from('x:'), 'FRAME_INVALID', /no number/);
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
      await expectRefused(transport, framing, Buffer.from('abcd'), 'FRAME_INVALID');
    });

    it('bounds frames that never end, and those that end too late', async () => {
      await expectRefused(
        transport,
        custom(() => null, { maxFrameBytes: 10 }),
        Buffer.alloc(11),
        'FRAME_TOO_LARGE',
      );
      await expectRefused(
        transport,
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

function varint(value: number): Buffer {
  const groups: number[] = [];
  let rest = value;
  do {
    groups.push((rest % 128) | (rest > 127 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(groups);
}
