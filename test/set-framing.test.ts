import { custom, delimited, type Framing, lengthPrefixed, raw, varintPrefixed } from 'odradek';
import { describe, expect, it } from 'vitest';
import { bytes, expectBytes, frame, frames, pattern } from './support/bytes.js';
import { startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { nextTurn, until } from './support/wait.js';

describe.each(placements)('setFraming (%s)', (transport) => {
  /** A server whose `upgrade` request changes the framing, at once or some turns later. */
  async function negotiating(framing: Framing, turns: number, first?: Framing) {
    const bodies: string[] = [];
    const testServer = await startServer(transport, {
      ...(first === undefined ? {} : { framing: first }),
      handler: ({ body, connection }) => {
        const text = body.toString();
        bodies.push(text);
        if (text !== 'upgrade') return body;
        const upgrade = (): Buffer => {
          connection.setFraming(framing);
          return Buffer.from('upgraded');
        };
        if (turns === 0) return upgrade();
        return (async () => {
          for (let i = 0; i < turns; i++) await nextTurn();
          return upgrade();
        })();
      },
    });
    return { testServer, client: await testServer.connect(), bodies };
  }

  const moments: [string, number][] = [
    ['at once', 0],
    ['in the next turn', 1],
    ['some turns later', 5],
  ];

  it.each(moments)(
    '%s: what is pipelined behind is cut by the new framing',
    async (_name, turns) => {
      const { client, bodies } = await negotiating(delimited('\n'), turns);
      client.send(frames(['a', 'upgrade']), Buffer.from('one\ntwo\n\nthree\n'));
      expect(await client.readTexts(2)).toEqual(['a', 'upgraded']);
      expect((await client.read(15)).toString()).toBe('one\ntwo\n\nthree\n');
      expect(bodies).toEqual(['a', 'upgrade', 'one', 'two', '', 'three']);
    },
  );

  it.each(moments)(
    '%s: bytes that look like old frames go back as they came',
    async (_n, turns) => {
      const { client, bodies } = await negotiating(delimited('\n'), turns);
      // Behind the request stand complete frames of the old framing, which are lines too.
      const behind = Buffer.concat([frame('x\ny'), frame('z'), Buffer.from('\n'), frame('half')]);
      client.send(frame('upgrade'), behind, Buffer.from('\n'));
      expect(await client.readText()).toBe('upgraded');
      expectBytes(await client.read(behind.length + 1), Buffer.concat([behind, Buffer.from('\n')]));
      expect(bodies.slice(1).join('\n')).toBe(behind.toString());
    },
  );

  it.each(moments)('%s: bytes that would break the old framing do no harm', async (_n, turns) => {
    const { testServer, client } = await negotiating(raw(), turns);
    const behind = bytes('ffffffff 80000000 7fffffff');
    client.send(frame('upgrade'), behind);
    expect(await client.readText()).toBe('upgraded');
    expectBytes(await client.read(behind.length), behind);
    expect(testServer.closed.all).toHaveLength(0);
  });

  it.each(moments)('%s: bytes that would break a custom framing do no harm', async (_n, turns) => {
    const strict = custom((all) => {
      if (all.length < 4) return null;
      const end = 4 + all.readUInt32BE();
      if (end > 100) throw new Error('too long');
      return all.length < end ? null : { length: end, bodyStart: 4, bodyEnd: end };
    });
    const { testServer, client } = await negotiating(raw(), turns, strict);
    const behind = bytes('ffffffff 80000000 7fffffff');
    client.send(frame('upgrade'), behind);
    expect((await client.read(8)).toString()).toBe('upgraded');
    expectBytes(await client.read(behind.length), behind);
    expect(testServer.closed.all).toHaveLength(0);
    // Where the framing stays, the same bytes end the connection behind the reply.
    const other = await negotiating(raw(), turns, strict);
    other.client.send(frame('stay'), behind);
    expect((await other.client.readToEnd()).toString()).toBe('stay');
    expect(await other.testServer.closed.next()).toMatchObject({ code: 'FRAME_INVALID' });
  });

  it.each(moments)('%s: from any framing to any other', async (_name, turns) => {
    const netstrings = custom((all) => {
      const colon = all.indexOf(':');
      if (colon === -1) return null;
      const end = colon + 1 + Number(all.toString('latin1', 0, colon));
      return all.length <= end ? null : { length: end + 1, bodyStart: colon + 1, bodyEnd: end };
    });
    const kinds: [string, Framing, (text: string) => Buffer, (text: string) => Buffer][] = [
      ['lengthPrefixed', lengthPrefixed(), frame, frame],
      ['short', lengthPrefixed({ sizeBytes: 1 }), short, short],
      ['varintPrefixed', varintPrefixed(), short, short],
      ['delimited', delimited('\r\n'), line, line],
      ['custom', netstrings, (text) => Buffer.from(`${text.length}:${text},`), plain],
    ];
    for (const [, first, asked, answered] of kinds) {
      for (const [, second, askedThen, answeredThen] of kinds) {
        const { testServer, client } = await negotiating(second, turns, first);
        client.send(asked('upgrade'), ...['a', 'bc', 'def'].map(askedThen));
        client.end();
        const expected = [answered('upgraded'), ...['a', 'bc', 'def'].map(answeredThen)];
        expectBytes(await client.readToEnd(), Buffer.concat(expected));
        expect(await testServer.closed.next()).toMatchObject({
          code: 'PEER_CLOSED',
          unanswered: 0,
        });
      }
    }
  });

  it('may change again and again, with everything pipelined', async () => {
    const testServer = await startServer(transport, {
      handler: async ({ body, connection }) => {
        const text = body.toString();
        if (text === 'lines') connection.setFraming(delimited('\n'));
        await nextTurn();
        if (text === 'frames') connection.setFraming(lengthPrefixed());
        return body;
      },
    });
    const client = await testServer.connect();
    const round = Buffer.concat([frames(['a', 'lines']), Buffer.from('b\nc\nframes\n')]);
    client.send(...Array.from({ length: 30 }, () => round));
    client.end();
    const answers = Array.from({ length: 30 }, () => round);
    expectBytes(await client.readToEnd(), Buffer.concat(answers));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
  });

  it('puts a large pipelined frame together by the new framing', async () => {
    const { client } = await negotiating(varintPrefixed(), 3);
    const large = pattern(2_000_000);
    client.send(frame('upgrade'), bytes('80897a'), large, bytes("01'z'"));
    expect(await client.readText()).toBe('upgraded');
    expectBytes(
      await client.read(3 + large.length + 2),
      Buffer.concat([bytes('80897a'), large, bytes("01'z'")]),
    );
  });

  it('leaves the unfinished frame to the new framing when FIN comes', async () => {
    const { testServer, client } = await negotiating(delimited('\n'), 2);
    client.send(frame('upgrade'), Buffer.from('whole\nhalf'));
    client.end();
    const expected = Buffer.concat([frame('upgraded'), Buffer.from('whole\n')]);
    expectBytes(await client.readToEnd(), expected);
    expect(await testServer.closed.next()).toMatchObject({ code: 'TRUNCATED_FRAME' });
  });

  it('is refused outside of onConnect and handlers, and for what is no framing', async () => {
    const errors: unknown[] = [];
    const attempt = (call: () => void): void => {
      try {
        call();
      } catch (error) {
        errors.push(error);
      }
    };
    const testServer = await startServer(transport, {
      handler: ({ body, connection }) => {
        attempt(() => connection.setFraming('lines' as unknown as Framing));
        attempt(() => connection.setFraming({ kind: 'raw', maxFrameBytes: 1 }));
        if (body.toString() === 'quit') {
          connection.close();
          attempt(() => connection.setFraming(raw()));
        }
        return body;
      },
      onDisconnect: (connection) => attempt(() => connection.setFraming(raw())),
    });
    const [client, connection] = await testServer.connectBoth();
    attempt(() => connection.setFraming(raw()));
    client.send(frame('hello'));
    expect(await client.readText()).toBe('hello');
    client.send(frame('quit'));
    await testServer.closed.next();
    expect(errors.map((error) => (error as { code: string }).code)).toEqual([
      'ERR_ODRADEK_SET_FRAMING',
      'ERR_ODRADEK_INVALID_ARGUMENT',
      'ERR_ODRADEK_INVALID_ARGUMENT',
      'ERR_ODRADEK_INVALID_ARGUMENT',
      'ERR_ODRADEK_INVALID_ARGUMENT',
      'ERR_ODRADEK_SET_FRAMING',
      'ERR_ODRADEK_SET_FRAMING',
    ]);
    await until(() => testServer.server.metrics().connections === 0, 'the end');
  });
});

/** One byte of length, which is a varint as well. */
function short(text: string): Buffer {
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
}

function line(text: string): Buffer {
  return Buffer.from(`${text}\r\n`);
}

function plain(text: string): Buffer {
  return Buffer.from(text);
}
