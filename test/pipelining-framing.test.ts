import {
  custom,
  delimited,
  type Framing,
  lengthPrefixed,
  type Request,
  raw,
  varintPrefixed,
} from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames, pattern } from './support/bytes.js';
import { Dice } from './support/dice.js';
import { startPipelined } from './support/handlers.js';
import { startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { defer, Inbox, nextTurn, until } from './support/wait.js';

const netstrings = custom((all) => {
  const colon = all.indexOf(':');
  if (colon === -1) return null;
  const end = colon + 1 + Number(all.toString('latin1', 0, colon));
  return all.length <= end ? null : { length: end + 1, bodyStart: colon + 1, bodyEnd: end };
});

const lines = (text: string): Buffer => Buffer.from(`${text}\n`);
const short = (text: string): Buffer => Buffer.from([text.length, ...Buffer.from(text)]);
const plain = (text: string): Buffer => Buffer.from(text);
const netstring = (text: string): Buffer => Buffer.from(`${text.length}:${text},`);

/** A framing, its requests, and its replies. */
type Kind = [string, Framing, (text: string) => Buffer, (text: string) => Buffer];

const kinds: Kind[] = [
  ['lengthPrefixed', lengthPrefixed(), frame, frame],
  ['short', lengthPrefixed({ sizeBytes: 1 }), short, short],
  ['varintPrefixed', varintPrefixed(), short, short],
  ['delimited', delimited('\n'), lines, lines],
  ['custom', netstrings, netstring, plain],
];

describe.each(placements)('setFraming with several in flight (%s)', (transport) => {
  it('applies to what was not started: all that is behind, in the synchronous part', async () => {
    const { testServer, client, calls, call } = await startUpgrading(delimited('\n'));
    client.send(frame('a'));
    await until(() => calls.all.length === 1, 'a');
    client.send(frame('upgrade'), lines('b'), lines('c'), lines('d'), lines('e'));
    await until(() => calls.all.length === 3, 'as many as allowed');
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(calls.all.map(({ text }) => text)).toEqual(['a', 'b', 'c']);
    call('c').answer();
    call('b').answer();
    call('a').answer();
    // Each reply is framed as its request was.
    const replies = Buffer.concat([frames(['a', 'upgraded']), lines('b'), lines('c')]);
    expectBytes(await client.read(replies.length), replies);
    await until(() => calls.all.length === 5, 'the rest');
    call('e').answer();
    call('d').answer();
    client.end();
    expectBytes(await client.readToEnd(), Buffer.concat([lines('d'), lines('e')]));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
  });

  it('is allowed after an await while no other request is in flight', async () => {
    const go = defer();
    const testServer = await startServer(transport, {
      maxInFlightPerConnection: 4,
      handler: async ({ body, connection }) => {
        if (body.toString() !== 'upgrade') return body;
        await go.promise;
        connection.setFraming(delimited('\n'));
        return Buffer.from('upgraded');
      },
    });
    const client = await testServer.connect();
    client.send(frames(['a', 'b']));
    expect(await client.readTexts(2)).toEqual(['a', 'b']);
    client.send(frame('upgrade'));
    for (let i = 0; i < 5; i++) await nextTurn();
    go.resolve();
    expect(await client.readText()).toBe('upgraded');
    client.send(lines('c'), lines('d'));
    expectBytes(await client.read(4), Buffer.from('c\nd\n'));
  });

  it.each([
    ['before it', ['other', 'upgrade']],
    ['behind it', ['upgrade', 'other']],
  ])('is refused after an await with another one in flight %s', async (_name, texts) => {
    const go = defer();
    const errors = new Inbox<{ code: string; message: string }>('an error');
    const testServer = await startServer(transport, {
      maxInFlightPerConnection: 4,
      handler: async ({ body, connection }) => {
        await go.promise;
        if (body.toString() === 'upgrade') {
          try {
            connection.setFraming(raw());
          } catch (error) {
            errors.push(error as { code: string; message: string });
          }
        }
        await nextTurn();
        return body;
      },
    });
    const client = await testServer.connect();
    client.send(frames(texts));
    await until(() => testServer.server.metrics().requestsInFlight === 2, 'both');
    go.resolve();
    const error = await errors.next();
    expect(error.code).toBe('ERR_ODRADEK_SET_FRAMING');
    expect(error.message).toMatch(/2 requests of this connection are in flight.*first await/);
    // Nothing has changed.
    expect(await client.readTexts(2)).toEqual(texts);
    client.send(frame('still frames'));
    expect(await client.readText()).toBe('still frames');
  });

  it('from any framing to any other, with requests in flight before and behind', async () => {
    for (const [, first, asked, answered] of kinds) {
      for (const [, second, askedThen, answeredThen] of kinds) {
        const { testServer, client, calls, call } = await startUpgrading(second, {
          framing: first,
        });
        client.send(asked('a'), asked('upgrade'), ...['b', 'cd', 'efg'].map(askedThen));
        client.end();
        await until(() => calls.all.length === 3, 'three that wait');
        for (const text of ['cd', 'b', 'a']) call(text).answer();
        await until(() => calls.all.length === 4, 'the last');
        call('efg').answer();
        const expected = [answered('a'), answered('upgraded')];
        expected.push(...['b', 'cd', 'efg'].map(answeredThen));
        expectBytes(await client.readToEnd(), Buffer.concat(expected));
        expect(await testServer.closed.next()).toMatchObject({
          code: 'PEER_CLOSED',
          unanswered: 0,
        });
      }
    }
  });

  it.each([
    [1, 2],
    [2, 3],
    [3, 4],
    [4, 64],
    [5, 1],
  ])('again and again, while more comes at any moment, run %i, up to %i', async (seed, most) => {
    const dice = new Dice(seed);
    const testServer = await startServer(transport, {
      maxInFlightPerConnection: most,
      ...(seed === 2 ? { queuedMaxRequests: 1 } : {}),
      ...(seed === 3 ? { maxPendingRequests: 2 } : {}),
      handler: ({ body, connection }) => {
        const kind = kinds[Number(body.toString())];
        if (kind !== undefined) connection.setFraming(kind[1]);
        const turns = dice.roll(4);
        if (turns === 0) return body;
        return (async () => {
          for (let i = 0; i < turns; i++) await nextTurn();
          return body;
        })();
      },
    });
    const client = await testServer.connect();
    let [, , ask, answer] = kinds[0] as Kind;
    const sent: Buffer[] = [];
    const expected: Buffer[] = [];
    for (let i = 0; i < 400; i++) {
      const change = dice.roll(5) === 0 ? dice.roll(kinds.length) : null;
      const text = change === null ? `text ${i}` : `${change}`;
      sent.push(ask(text));
      expected.push(answer(text));
      if (change !== null) [, , ask, answer] = kinds[change] as Kind;
    }
    const bytes = Buffer.concat(sent);
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + dice.roll(dice.roll(4) === 0 ? 2000 : 60);
      client.send(bytes.subarray(at, end));
      at = end;
      if (dice.roll(3) === 0) await nextTurn();
    }
    client.end();
    expectBytes(await client.readToEnd(), Buffer.concat(expected));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
  });

  it('in onConnect, before anything is read', async () => {
    const testServer = await startServer(transport, {
      maxInFlightPerConnection: 4,
      onConnect: async (connection) => {
        await nextTurn();
        connection.setFraming(delimited('\n'));
        return Buffer.from('welcome');
      },
    });
    const client = await testServer.connect();
    client.send(lines('a'), lines('b'));
    client.end();
    expect((await client.readToEnd()).toString()).toBe('welcome\na\nb\n');
  });

  it('puts a large frame behind it together by the new framing', async () => {
    const { client, calls, call } = await startUpgrading(varintPrefixed());
    client.send(frame('a'));
    await until(() => calls.all.length === 1, 'a');
    const large = pattern(2_000_000);
    const size = Buffer.from('80897a', 'hex');
    client.send(frame('upgrade'), size, large, short('z'));
    await until(() => calls.all.length === 3, 'all');
    calls.all[1]?.answer(Buffer.from('got it'));
    call('z').answer();
    expectBytes(calls.all[1]?.request.body as Buffer, large);
    call('a').answer();
    const replies = Buffer.concat([frames(['a', 'upgraded']), short('got it'), short('z')]);
    expectBytes(await client.read(replies.length), replies);
  });

  it('to custom: a frame of many reads comes whole, however many requests are before it', async () => {
    const { testServer, client, calls } = await startUpgrading(netstrings);
    client.send(frame('a'));
    await until(() => calls.all.length === 1, 'a');
    const large = pattern(3_000_000);
    client.send(frame('upgrade'), Buffer.from(`${large.length}:`), large, plain(','));
    for (let i = 0; i < 20; i++) await nextTurn();
    calls.all[0]?.answer(Buffer.from('a'));
    await until(() => calls.all.length === 2, 'the large one');
    expectBytes(calls.all[1]?.request.body as Buffer, large);
    calls.all[1]?.answer(Buffer.from('got it'));
    client.end();
    expectBytes(
      await client.readToEnd(),
      Buffer.concat([frames(['a', 'upgraded']), plain('got it')]),
    );
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
  });

  it('to custom: what breaks it is judged behind the replies of all requests before', async () => {
    const { testServer, client, calls } = await startUpgrading(netstrings);
    client.send(frame('a'));
    await until(() => calls.all.length === 1, 'a');
    client.send(frame('upgrade'), plain('no number: at all'));
    for (let i = 0; i < 20; i++) await nextTurn();
    expect(testServer.closed.all).toHaveLength(0);
    calls.all[0]?.answer(Buffer.from('a'));
    expectBytes(await client.readToEnd(), frames(['a', 'upgraded']));
    expect(await testServer.closed.next()).toMatchObject({ code: 'FRAME_INVALID' });
  });

  it.each(['close', 'reset'])('before a %s: what was to be cut anew is let go of', async (how) => {
    const { testServer, client, calls } = await startUpgrading(raw(), {}, ({ connection }) => {
      if (how === 'close') connection.close();
      else client.reset();
    });
    client.send(frame('a'));
    await until(() => calls.all.length === 1, 'a');
    client.send(frame('upgrade'), frames(['b', 'c']));
    await until(() => calls.all[0]?.request.signal.aborted === true, 'the end');
    await until(() => {
      for (const each of calls.all) each.answer();
      return testServer.closed.all.length > 0;
    }, 'the report');
    const [reason] = testServer.closed.all;
    expect(reason?.code).toBe(how === 'close' ? 'CLOSED_BY_SERVICE' : 'PEER_RESET');
  });

  /** Every request waits for the test, but `upgrade`, which changes the framing at once. */
  function startUpgrading(
    second: Framing,
    options: Parameters<typeof startPipelined>[2] = {},
    then: (request: Request) => void = () => {},
  ) {
    return startPipelined(transport, 4, options, (request) => {
      if (request.body.toString() !== 'upgrade') return undefined;
      request.connection.setFraming(second);
      then(request);
      return Buffer.from('upgraded');
    });
  }
});
