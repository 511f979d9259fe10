import { describe, expect, it } from 'vitest';

// Which reports count decides whether a run under a sanitizer can fail at all.
type FindingsOf = (report: string) => string[];
const sanitizer = new URL('../../scripts/sanitizer.mjs', import.meta.url).href;
const { addressFindings, threadFindings } = (await import(sanitizer)) as {
  addressFindings: FindingsOf;
  threadFindings: FindingsOf;
};

const ours = 'odradek::NativeServer::submit() native_server.cc:300 (/x/odradek.node)';
const napi = 'napi_create_reference <null> (/usr/bin/node)';
const v8 = 'v8::internal::JSReceiver::SetProperties() <null> (/usr/bin/node)';
const main = 'node::Start(int, char**) <null> (/usr/bin/node)';

function stack(...frames: string[]): string {
  return frames.map((frame, i) => `    #${i} ${frame}`).join('\n');
}

function leak(...frames: string[]): string {
  return `Direct leak of 8 byte(s) in 1 object(s) allocated from:\n${stack(...frames)}\n\n`;
}

function leaks(...blocks: string[]): string {
  const head = '\n=====\n==1==ERROR: LeakSanitizer: detected memory leaks\n\n';
  return `${head}${blocks.join('')}SUMMARY: AddressSanitizer: 8 byte(s) leaked in 1 allocation(s).\n`;
}

describe('what the leak check reports', () => {
  it('counts what the addon allocated, itself or through Node-API', () => {
    const own = leak('operator new', ours, main);
    const reference = leak('operator new', napi, ours, main);
    expect(addressFindings(leaks(own, reference))).toHaveLength(2);
  });

  it('leaves out what V8 and others allocated', () => {
    const calledByUs = leak('operator new', v8, napi, ours, main);
    const calledByNode = leak('operator new', v8, main);
    const foreign = leak('operator new', napi, 'register (/x/rolldown.node)', main);
    expect(addressFindings(leaks(calledByUs, calledByNode, foreign))).toEqual([]);
  });

  it('counts every other error', () => {
    const error = `==1==ERROR: AddressSanitizer: heap-use-after-free\n${stack(v8, main)}\n`;
    expect(addressFindings(error)).toEqual([error]);
    const undefinedBehaviour = 'core/send.cc:10:5: runtime error: shift exponent 64 is too large\n';
    expect(addressFindings(undefinedBehaviour)).toEqual([undefinedBehaviour]);
  });
});

describe('what the race detector reports', () => {
  const race = (one: string, other: string) =>
    `==================\nWARNING: ThreadSanitizer: data race (pid=1)\n  Write of size 4\n${one}\n\n` +
    `  Previous read of size 4\n${other}\n==================\n`;
  const lost = '    [failed to restore the stack]';

  it('counts reports in which the addon stands, and those that may hide it', () => {
    const report =
      race(stack(ours), stack('free', main)) +
      race(stack('free', main), stack(ours)) +
      race(stack('free', main), lost);
    expect(threadFindings(report)).toHaveLength(3);
  });

  it('leaves out descriptors whose close by libuv it has not seen', () => {
    const accept = stack('accept4 x.inc:1 (libtsan.so+0x5)', ours);
    const loop = stack(
      'epoll_create1 x.cpp:1 (libtsan.so+0x3)',
      'uv__platform_loop_init x.c:1 (node+0x1)',
    );
    expect(threadFindings(race(accept, loop))).toEqual([]);
    const other = stack('epoll_create1 x.cpp:1 (libtsan.so+0x3)', ours);
    expect(threadFindings(race(accept, other))).toHaveLength(1);
  });

  it('leaves out those of node alone', () => {
    expect(threadFindings(race(stack('free', main), stack('memmove', v8)))).toEqual([]);
  });
});
