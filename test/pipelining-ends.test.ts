import { closeConnection, type Reply, replyAndClose } from 'odradek';
import { describe, expect, it } from 'vitest';
import { expectBytes, frame, frames } from './support/bytes.js';
import { type Call, expectSeesAnotherEnd, startPipelined } from './support/handlers.js';
import { expectMetrics } from './support/server.js';
import { placements } from './support/transports.js';
import { nextTurn, until, within } from './support/wait.js';

describe.each(placements)('an end with several requests in flight (%s)', (transport) => {
  /** Five requests, three of them in flight. */
  async function start(options: Parameters<typeof startPipelined>[2] = {}) {
    const pipelined = await startPipelined(transport, 3, options);
    const { client, expectStarted } = pipelined;
    client.send(frames(['a', 'b', 'c', 'd', 'e']));
    await expectStarted('a', 'b', 'c');
    return pipelined;
  }

  const closes: [string, (call: Call) => void, string, string][] = [
    ['closeConnection', (call) => call.answer(closeConnection), '', 'CLOSED_BY_HANDLER'],
    ['replyAndClose', (call) => call.answer(replyAndClose(bye)), 'bye', 'CLOSED_BY_HANDLER'],
    ['a failed handler', (call) => call.fail(new Error('failed')), '', 'HANDLER_ERROR'],
    ['what is no reply', (call) => call.answer('text' as unknown as Reply), '', 'HANDLER_ERROR'],
  ];

  it.each(closes)('by %s closes in order', async (_name, close, text, code) => {
    const { testServer, client, call, expectStarted } = await start({ onHandlerError: () => {} });
    const { signal } = call('c').request;
    const sent = [call('b').request.sent, call('c').request.sent];
    close(call('b'));
    // The one before it is answered first; what is behind isn't started any more.
    await expectStarted('a', 'b', 'c');
    expect(signal.aborted).toBe(false);
    call('a').answer();
    const expected = text === '' ? frame('a') : frames(['a', text]);
    expectBytes(await client.readToEnd(), expected);
    // What runs behind it is not waited for, but for the report.
    await until(() => signal.aborted, 'the abort');
    await expectSeesAnotherEnd(testServer);
    expect(testServer.closed.all).toHaveLength(1);
    call('c').answer();
    const unanswered = text === '' ? 4 : 3;
    expect(await testServer.closed.next()).toMatchObject({ code, unanswered });
    expect(await sent[0]).toEqual(text === '' ? { ok: false, reason: code } : { ok: true });
    expect(await sent[1]).toEqual({ ok: false, reason: code });
    await expectStarted('a', 'b', 'c');
    await expectMetrics(testServer.server, { pendingRequests: 0, requestsInFlight: 0 });
  });

  it.each(closes)('by %s drops replies that wait behind it', async (_name, close, text, code) => {
    const { testServer, client, call } = await start({ onHandlerError: () => {} });
    const { sent } = call('c').request;
    call('c').answer();
    close(call('b'));
    await nextTurn();
    expect(client.available).toBe(0);
    call('a').answer();
    expectBytes(await client.readToEnd(), text === '' ? frame('a') : frames(['a', text]));
    const unanswered = text === '' ? 4 : 3;
    expect(await testServer.closed.next()).toMatchObject({ code, unanswered });
    expect(await sent).toEqual({ ok: false, reason: code });
  });

  it.each(closes)('by %s starts nothing more while it waits', async (_name, close, text, code) => {
    const pipelined = await startPipelined(transport, 4, { onHandlerError: () => {} });
    const { testServer, client, call, expectStarted } = pipelined;
    client.send(frames(['a', 'b']));
    await expectStarted('a', 'b');
    close(call('b'));
    await nextTurn();
    client.send(frames(['c', 'd']));
    await expectMetrics(testServer.server, { requestsTotal: 4, requestQueueSize: 0 });
    await expectStarted('a', 'b');
    call('a').answer();
    expectBytes(await client.readToEnd(), text === '' ? frame('a') : frames(['a', text]));
    const unanswered = text === '' ? 3 : 2;
    expect(await testServer.closed.next()).toMatchObject({ code, unanswered });
    await expectStarted('a', 'b');
  });

  it('by the first of several that close', async () => {
    const { testServer, client, call } = await start();
    call('c').answer(closeConnection);
    call('b').answer(replyAndClose(bye));
    call('a').answer();
    expectBytes(await client.readToEnd(), frames(['a', 'bye']));
    expect(await testServer.closed.next()).toMatchObject({
      code: 'CLOSED_BY_HANDLER',
      unanswered: 3,
    });
  });

  it('is none where onHandlerError has a reply, which keeps its place', async () => {
    const { testServer, client, call } = await start({
      onHandlerError: async (error) => {
        await nextTurn();
        return Buffer.from((error as Error).message);
      },
    });
    call('b').fail(new Error('sorry'));
    call('c').answer();
    await until(() => testServer.errors.all.length === 1, 'the error');
    call('a').answer();
    expect(await client.readTexts(3)).toEqual(['a', 'sorry', 'c']);
  });

  it.each([
    ['waits', undefined],
    ['waits to close', closeConnection],
  ])('by connection.close() comes at once, though a reply %s', async (_name, reply) => {
    const { testServer, client, call, expectStarted } = await start();
    const requests = ['a', 'b', 'c'].map((text) => call(text).request);
    const sent = requests.map((request) => request.sent);
    const signals = requests.map(({ signal }) => signal);
    call('b').answer(reply);
    await nextTurn();
    requests[0]?.connection.close('enough');
    requests[0]?.connection.close('more than enough');
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false, true]);
    expectBytes(await client.readToEnd(), Buffer.alloc(0));
    call('c').answer();
    call('a').answer();
    expect(await testServer.closed.next()).toEqual({
      code: 'CLOSED_BY_SERVICE',
      message: 'the service closed the connection: enough',
      unanswered: 5,
    });
    for (const each of sent) expect(await each).toEqual({ ok: false, reason: 'CLOSED_BY_SERVICE' });
    await expectStarted('a', 'b', 'c');
  });

  it('by connection.close() keeps its reason when a handler closes later', async () => {
    const { testServer, client, call } = await start();
    call('a').request.connection.close('enough');
    call('a').answer(closeConnection);
    await client.seeEnd();
    for (const text of ['b', 'c']) call(text).answer();
    expect((await testServer.closed.next()).message).toMatch(/enough/);
  });

  it('by a reset: everything is handled, nothing is sent, and it is told once', async () => {
    const { testServer, client, call, expectStarted } = await start();
    const sent = [call('a').request.sent, call('b').request.sent];
    const { signal } = call('a').request;
    call('b').answer();
    await nextTurn();
    client.reset();
    await until(() => signal.aborted, 'the reset');
    call('a').answer();
    await expectStarted('a', 'b', 'c', 'd', 'e');
    for (const text of ['e', 'c', 'd']) call(text).answer();
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_RESET', unanswered: 5 });
    for (const each of sent) expect(await each).toEqual({ ok: false, reason: 'PEER_RESET' });
    await expectSeesAnotherEnd(testServer);
    expect(testServer.closed.all).toHaveLength(2);
    await expectMetrics(testServer.server, { pendingRequests: 0, requestsInFlight: 0 });
  });

  it('by a half-close: everything is answered', async () => {
    const { testServer, client, call, expectStarted } = await start();
    const { signal } = call('a').request;
    client.end();
    await expectSeesAnotherEnd(testServer);
    call('c').answer();
    call('b').answer();
    await nextTurn();
    expect(testServer.closed.all).toHaveLength(1);
    call('a').answer();
    await expectStarted('a', 'b', 'c', 'd', 'e');
    expect(signal.aborted).toBe(false);
    for (const text of ['e', 'd']) call(text).answer();
    expectBytes(await client.readToEnd(), frames(['a', 'b', 'c', 'd', 'e']));
    expect(await testServer.closed.next()).toMatchObject({ code: 'PEER_CLOSED', unanswered: 0 });
  });

  it.each([
    ['a broken frame', Buffer.from([0xff, 0xff, 0xff, 0xff]), 'FRAME_LENGTH_INVALID'],
    ['half a frame and FIN', frame('half').subarray(0, 6), 'TRUNCATED_FRAME'],
  ])('by %s comes when those before it are answered', async (_name, bytes, code) => {
    const { testServer, client, call, expectStarted } = await startPipelined(transport, 3);
    client.send(frames(['a', 'b']));
    await expectStarted('a', 'b');
    client.send(bytes);
    if (code === 'TRUNCATED_FRAME') client.end();
    await expectSeesAnotherEnd(testServer);
    call('b').answer();
    call('a').answer();
    expectBytes(await client.readToEnd(), frames(['a', 'b']));
    expect(await testServer.closed.next()).toMatchObject({ code, unanswered: 0 });
  });

  it('holds no more memory than one read behind a broken frame, until then', async () => {
    const { testServer, client, call, expectStarted } = await startPipelined(transport, 3);
    client.send(frame('a'));
    await expectStarted('a');
    const stop = client.pour(Buffer.alloc(100_000, 0xff));
    await until(() => client.socket.writableLength > 0, 'a full kernel');
    const { bytesReadTotal } = testServer.server.metrics();
    await expectSeesAnotherEnd(testServer);
    expect(testServer.server.metrics().bytesReadTotal - bytesReadTotal).toBeLessThan(2_000_000);
    call('a').answer();
    stop();
    await client.seeEnd();
    expect(await testServer.closed.next()).toMatchObject({ code: 'FRAME_LENGTH_INVALID' });
  });

  it('by server.close(): everything received is answered', async () => {
    const { testServer, client, call, expectStarted } = await start();
    const closing = testServer.server.close();
    call('b').answer();
    call('c').answer();
    call('a').answer();
    await expectStarted('a', 'b', 'c', 'd', 'e');
    for (const text of ['e', 'd']) call(text).answer();
    expectBytes(await client.readToEnd(), frames(['a', 'b', 'c', 'd', 'e']));
    expect(await closing).toEqual({ completed: 5, cut: 0 });
    expect(await testServer.closed.next()).toMatchObject({ code: 'SERVER_CLOSED', unanswered: 0 });
  });

  it('by the deadline of server.close(): what waits is cut off too, and let go of', async () => {
    const { testServer, call, expectStarted } = await start();
    const { sent } = call('b').request;
    call('b').answer();
    await nextTurn();
    expect(await testServer.server.close({ timeoutMs: 0 })).toEqual({ completed: 0, cut: 5 });
    expect(await sent).toEqual({ ok: false, reason: 'DEADLINE' });
    call('a').answer();
    call('c').answer();
    await expectStarted('a', 'b', 'c');
    await expectMetrics(testServer.server, { pendingRequests: 0, requestsInFlight: 0 });
  });

  it('by server.close() in a handler waits for those before it, not for those behind', async () => {
    const started: string[] = [];
    const answers = new Map<string, (bytes: Buffer) => void>();
    const { testServer, client } = await startPipelined(transport, 3, {
      handler: ({ body }) => {
        const text = body.toString();
        started.push(text);
        if (text === 'b') {
          return testServer.server.close().then(() => body);
        }
        return new Promise<Buffer>((resolve) => answers.set(text, resolve));
      },
    });
    client.send(frames(['a', 'b', 'c']));
    await until(() => started.length === 3, 'all');
    await expectNoEnd();
    answers.get('a')?.(Buffer.from('a'));
    expect(await client.readText()).toBe('a');
    const summary = await within(testServer.server.close(), 'the end', 2000);
    expect(summary).toEqual({ completed: 1, cut: 2 });

    async function expectNoEnd(): Promise<void> {
      for (let i = 0; i < 10; i++) await nextTurn();
      expect(testServer.closed.all).toHaveLength(0);
      expect(client.socket.readyState).toBe('open');
    }
  });
});

const bye = Buffer.from('bye');
