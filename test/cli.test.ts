import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findNodeGyp } from '../src/cli/node-gyp.js';
import { adviseOnDescriptors, adviseOnQueue, readLibc, readLimits } from '../src/cli/system.js';
import { isNativeAvailable } from '../src/index.js';

// `odradek doctor` and `odradek build`, and what is said where there is no binary. They run what is in
// dist, in processes of their own.

const root = fileURLToPath(new URL('..', import.meta.url));
const main = join(root, 'dist', 'cli', 'main.js');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'odradek-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs Node; `isBare`: as where there is no binary for the platform. */
function node(args: string[], isBare = false) {
  const { PREBUILDS_ONLY: _only, ODRADEK_PREBUILD: _prebuild, ...env } = process.env;
  const bare = { PREBUILDS_ONLY: '1', ODRADEK_PREBUILD: folder };
  return spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: 'utf8',
    env: isBare ? { ...env, ...bare } : env,
  });
}

describe('odradek', () => {
  it('says how it is used', () => {
    const help = node([main, '--help']);
    expect(help.status).toBe(0);
    expect(help.stdout).toMatch(/^Usage: odradek <command>[\s\S]*doctor[\s\S]*build/);
    for (const args of [[], ['cure'], ['doctor', 'now']]) {
      const { status, stdout, stderr } = node([main, ...args]);
      expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: '', stderr: help.stdout });
    }
  });

  it('says its version', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(node([main, '--version']).stdout).toBe(`${version}\n`);
  });

  it('can be run as it is, once installed', () => {
    expect(readFileSync(main, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  });
});

describe('odradek doctor', () => {
  it.skipIf(!isNativeAvailable())('names the binary that serves', () => {
    const { status, stdout } = node([main, 'doctor']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^transport +native$/m);
    expect(stdout).toMatch(/^poller +(epoll|kqueue)$/m);
    const file = /^binary +(.*)$/m.exec(stdout)?.[1] as string;
    expect(existsSync(file)).toBe(true);
  });

  it('says why it is not native, and what to try', () => {
    const { status, stdout } = node([main, 'doctor'], true);
    expect(status).toBe(1);
    expect(stdout).toMatch(/^transport +js/m);
    expect(stdout).toMatch(/^binary +none$/m);
    expect(stdout).toMatch(/^why .*No native build was found for platform=/m);
    expect(stdout).toMatch(/^try +npx odradek build/m);
  });

  it('names a binary that does not load', () => {
    const target = join(folder, 'broken', 'prebuilds', `${process.platform}-${process.arch}`);
    mkdirSync(target, { recursive: true });
    const file = join(target, 'odradek.node');
    writeFileSync(file, 'no library');
    const env = { ...process.env, PREBUILDS_ONLY: '1', ODRADEK_PREBUILD: join(folder, 'broken') };
    const { status, stdout } = spawnSync(process.execPath, [main, 'doctor'], {
      encoding: 'utf8',
      env,
    });
    expect(status).toBe(1);
    expect(stdout).toContain(`binary     ${file}\n`);
    expect(stdout).toMatch(/^why .*(file too short|invalid ELF header|not a mach-o file|slice)/m);
  });

  it.runIf(process.platform === 'linux')('reads the limits that the system has', () => {
    const [descriptors, queue] = readLimits();
    expect(descriptors?.value).toBe(
      execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim(),
    );
    expect(queue?.value).toBe(readFileSync('/proc/sys/net/core/somaxconn', 'utf8').trim());
    expect(readLibc()).toMatch(/^glibc \d+\.\d+$|^musl$/);
  });

  it('advises where a limit is below what a server uses by default', () => {
    expect(adviseOnDescriptors(1024).advice).toMatch(/maxConnections below 1024$/);
    expect(adviseOnDescriptors(65_536).advice).not.toBeNull();
    expect(adviseOnDescriptors(65_537).advice).toBeNull();
    expect(adviseOnDescriptors(Infinity)).toMatchObject({ value: 'unlimited', advice: null });
    expect(adviseOnDescriptors(null)).toMatchObject({ value: 'unknown', advice: null });
    expect(adviseOnQueue('somaxconn', 128).advice).toMatch(/511 by default.*cuts it to 128/);
    expect(adviseOnQueue('somaxconn', 511).advice).toBeNull();
    expect(adviseOnQueue('somaxconn', null)).toMatchObject({ value: 'unknown', advice: null });
  });
});

describe('odradek build', () => {
  /** A file where a package manager would have put node-gyp. */
  function put(...path: string[]): string {
    const file = join(folder, ...path, 'node-gyp', 'bin', 'node-gyp.js');
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, '');
    writeFileSync(join(dirname(file), '..', 'package.json'), '{ "name": "node-gyp" }');
    return file;
  }

  const nowhere = { env: { PATH: '' }, folders: [], node: '/nonexistent/bin/node' };

  it('says with a code that there is no node-gyp', () => {
    expect(() => findNodeGyp(nowhere)).toThrow(
      expect.objectContaining({
        code: 'ERR_ODRADEK_NO_NODE_GYP',
        message: expect.stringContaining('npm install node-gyp'),
      }),
    );
  });

  it('finds the node-gyp that is named, installed, on the path, or npm’s', () => {
    const named = put('named');
    expect(findNodeGyp({ ...nowhere, env: { npm_config_node_gyp: named } })).toBe(named);
    const installed = put('project', 'node_modules');
    expect(findNodeGyp({ ...nowhere, folders: [join(folder, 'project')] })).toBe(installed);
    const global = put('global', 'lib', 'node_modules');
    expect(findNodeGyp({ ...nowhere, env: { PATH: join(folder, 'global', 'bin') } })).toBe(global);
    const npms = put('prefix', 'lib', 'node_modules', 'npm', 'node_modules');
    expect(findNodeGyp({ ...nowhere, node: join(folder, 'prefix', 'bin', 'node') })).toBe(npms);
    const runningNpm = join(folder, 'own', 'npm', 'bin', 'npm-cli.js');
    const runnings = put('own', 'npm', 'node_modules');
    expect(findNodeGyp({ ...nowhere, env: { npm_execpath: runningNpm } })).toBe(runnings);
  });
});

describe('without a binary', () => {
  const script = `
    const { SocketServer } = await import(${JSON.stringify(join(root, 'dist', 'index.js'))});
    const options = { listeners: [{ port: 0 }], handler: () => null };
    const given = process.argv[1];
    const all = given === undefined ? options : { ...options, transport: given };
    const servers = [new SocketServer(all), new SocketServer(all)];
    console.log(servers.map((server) => server.transport).join());
  `;
  const run = (...args: string[]) => node(['--input-type=module', ...args], true);

  it('the js transport serves, and one warning says why and what to do', () => {
    const { stdout, stderr } = run('--eval', script);
    expect(stdout).toBe('js,js\n');
    expect(stderr.match(/OdradekWarning/g)).toHaveLength(1);
    expect(stderr).toMatch(/\[ODRADEK_JS_TRANSPORT\] OdradekWarning: .*No native build was found/);
    expect(stderr).toContain("'npx odradek doctor'");
  });

  it('the warning can be silenced, and who asked for js gets none', () => {
    const silenced = run('--disable-warning=ODRADEK_JS_TRANSPORT', '--eval', script);
    expect(silenced).toMatchObject({ status: 0, stdout: 'js,js\n', stderr: '' });
    expect(run('--eval', script, 'js')).toMatchObject({ status: 0, stdout: 'js,js\n', stderr: '' });
  });

  it('who asked for native gets an error', () => {
    const { status, stderr } = run('--eval', script, 'native');
    expect(status).toBe(1);
    expect(stderr).toContain('ERR_ODRADEK_NATIVE_UNAVAILABLE');
    expect(stderr).not.toContain('OdradekWarning');
  });
});
