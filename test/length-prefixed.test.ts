import { type Framing, lengthPrefixed, OdradekError } from 'odradek';
import { describe, expect, it } from 'vitest';
import { bytes, expectBytes, frame, frames, numbered, pattern } from './support/bytes.js';
import { expectEnd, expectRefused, startEcho } from './support/handlers.js';
import { startServer } from './support/server.js';
import { isPooled, placements } from './support/transports.js';

describe.each(placements)('lengthPrefixed (%s)', (transport) => {
  const echo = (framing: Framing, options?: { frameReplies?: boolean }) =>
    startEcho(transport, framing, options);

  it('puts together what comes byte by byte', async () => {
    const { client } = await echo(lengthPrefixed());
    const sent = frames(['one', '', 'three', 'x'.repeat(40)]);
    await client.sendInPieces(sent, 1);
    expectBytes(await client.read(sent.length), sent);
  });

  it('takes thousands of frames from one segment', async () => {
    const { client } = await echo(lengthPrefixed());
    // A closure's pool answers one after the other, each by three messages.
    const sent = frames(numbered(isPooled(transport) ? 4_000 : 20_000));
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
    await expectRefused(transport, framing, bytes(prefix), code);
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
