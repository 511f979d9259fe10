import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { frame } from './support/bytes.js';
import { Client } from './support/client.js';
import { transports } from './support/transports.js';
import { Inbox } from './support/wait.js';

const program = fileURLToPath(new URL('./support/exhausted-server.mjs', import.meta.url));

describe.skipIf(process.platform === 'win32').each(transports)(
  'a process without descriptors (%s)',
  (transport) => {
    it('refuses clients, tells of it where it can, and goes on when there are some again', async () => {
      const { lines, child } = startExhausted(transport);
      const port = Number(await lines.next());
      const refused = await Client.connect(port);
      onTestFinished(() => void refused.socket.destroy());
      await refused.seeEnd();
      // `node:net` says nothing when it closes clients for want of descriptors.
      if (transport === 'native') expect(await lines.next()).toBe('acceptError EMFILE');
      child.stdin?.write('free\n');
      while ((await lines.next()) !== 'freed');
      const client = await Client.connect(port);
      onTestFinished(() => void client.socket.destroy());
      client.send(frame('hello'));
      expect(await client.readText()).toBe('hello');
      const told = new Set(lines.all.slice(1));
      expect([...told].sort()).toEqual(
        transport === 'native' ? ['acceptError EMFILE', 'freed', 'opened'] : ['freed', 'opened'],
      );
    });
  },
);

function startExhausted(transport: string): { lines: Inbox<string>; child: ChildProcess } {
  const lines = new Inbox<string>('a line of the server');
  const child = spawn(
    'sh',
    ['-c', 'ulimit -n 80 && exec "$0" "$@"', process.execPath, program, transport],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  createInterface({ input: child.stdout }).on('line', lines.push);
  return { lines, child };
}
