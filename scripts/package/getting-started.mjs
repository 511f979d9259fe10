// docs/getting-started.md word for word: writes each file, runs each command, compares each output.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { unpackDebian } from './debian.mjs';
import { must } from './run.mjs';
import { installTool, root, scriptOf } from './tools.mjs';

/** What its servers listen on; free ports take their place. */
const ports = ['9092', '9093', '9094'];

const patienceMs = 30_000;

/**
 * @param {{ command: string[], node: string[] }} manager npm
 * @param {{ cwd: string, env: Record<string, string | undefined> }} options
 * @param {(manager: object, folder: string) => Promise<void>} installPackage stands for `npm install odradek`
 */
export async function followGettingStarted(manager, options, installPackage) {
  const tsx = [...manager.node, scriptOf(await installTool('tsx-4', 'tsx@4'), 'tsx')];
  const withNetcat = { ...options, env: { ...options.env, ...(await netcat(options.cwd)) } };
  const blocks = await readPage();
  let server = null;
  try {
    for (const [i, { language, file, text }] of blocks.entries()) {
      if (file !== '') writeFileSync(join(options.cwd, file), text);
      if (language !== 'sh') continue;
      const printed = blocks[i + 1]?.language === '' ? blocks[i + 1].text : null;
      const program = /^npx tsx (\S+)$/m.exec(text)?.[1];
      if (program !== undefined && isServer(options.cwd, program)) {
        await server?.end();
        server = new Server([...tsx, program], options);
        await server.prints(printed ?? '{ host:');
      } else if (program !== undefined) {
        expectPrinted(text, await must([...tsx, program], options), printed);
      } else if (/^np[mx]/m.test(text)) {
        await byNpm(text, manager, options, installPackage);
      } else {
        expectPrinted(text, await must(['sh', '-c', text], withNetcat), printed);
      }
    }
    await server.end();
  } finally {
    server?.kill();
  }
}

/** Fenced blocks: the language, a file's name behind it, the text. */
async function readPage() {
  let page = readFileSync(join(root, 'docs', 'getting-started.md'), 'utf8');
  for (const port of ports) page = page.replaceAll(port, String(await freePort()));
  return [...page.matchAll(/^```(\w*)(?: (\S+))?\n(.*?)^```$/gms)].map(
    ([, language, file = '', text]) => ({ language, file, text }),
  );
}

async function freePort() {
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const { port } = holder.address();
  holder.close();
  await once(holder, 'close');
  return port;
}

function isServer(folder, program) {
  return readFileSync(join(folder, program), 'utf8').includes('server.start()');
}

/** The folder is there, and the package is what was packed; all else is done as it stands there. */
async function byNpm(text, manager, options, installPackage) {
  for (const line of text.trim().split('\n')) {
    const [command, ...args] = line.split(' ');
    if (command === 'mkdir') continue;
    if (line === 'npm install odradek') await installPackage(manager, options.cwd);
    else
      await must(
        [...manager.command, ...(command === 'npx' ? ['exec', '--'] : []), ...args],
        options,
      );
  }
}

function expectPrinted(command, { stdout, stderr }, printed) {
  if (stderr === '' && (printed === null || stdout === printed)) return;
  throw new Error(`${command}\nprinted\n${stdout}${stderr}\nand should have printed\n${printed}`);
}

class Server {
  #child;
  #ended;
  #text = '';

  constructor([command, ...args], options) {
    // A group of its own, as a terminal's: tsx runs the program in a process of its own.
    const stdio = ['ignore', 'pipe', 'pipe'];
    this.#child = spawn(command, args, { ...options, stdio, detached: true });
    this.#ended = once(this.#child, 'exit');
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (text) => {
        this.#text += text;
      });
    }
  }

  async prints(text) {
    const deadline = Date.now() + patienceMs;
    while (!this.#text.includes(text)) {
      if (Date.now() > deadline || this.#child.exitCode !== null) {
        throw new Error(`${this.#child.spawnargs.at(-1)} printed\n${this.#text}\nand not ${text}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** As by Ctrl-C. */
  async end() {
    process.kill(-this.#child.pid, 'SIGINT');
    await this.#ended;
    if (/warning|error/i.test(this.#text)) throw new Error(this.#text);
  }

  kill() {
    try {
      process.kill(-this.#child.pid, 'SIGKILL');
    } catch {
      // It has ended, with all of its group.
    }
  }
}

/** Debian's, by the name `nc`. */
async function netcat(folder) {
  const place = await unpackDebian('netcat', ['netcat-openbsd', 'libbsd0', 'libmd0']);
  const libraries = join(place, 'usr', 'lib');
  const library = join(
    libraries,
    readdirSync(libraries).find((name) => name.endsWith('-gnu')),
  );
  writeFileSync(
    join(folder, 'nc'),
    `#!/bin/sh\nLD_LIBRARY_PATH=${library} exec ${join(place, 'bin', 'nc.openbsd')} "$@"\n`,
  );
  chmodSync(join(folder, 'nc'), 0o755);
  return { PATH: `${folder}:${process.env.PATH}` };
}
