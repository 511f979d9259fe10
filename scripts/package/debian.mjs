// Files of Debian packages, unpacked under build/tools: nothing is installed on this machine.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './run.mjs';
import { Missing, tools } from './tools.mjs';

/**
 * @param {string} folder under build/tools
 * @param {string[]} packages of Debian
 * @param {{ suite: string, architecture: string }} [other] than this machine's
 * @returns {Promise<string>} where they are unpacked
 */
export async function unpackDebian(folder, packages, other) {
  const place = join(tools, folder);
  const unpacked = join(place, 'root');
  if (existsSync(join(place, 'done'))) return unpacked;
  rmSync(place, { recursive: true, force: true });
  mkdirSync(unpacked, { recursive: true });
  const options = other === undefined ? [] : await listsOf(other, place);
  await apt([...options, 'download', ...packages], place);
  for (const file of readdirSync(place).filter((name) => name.endsWith('.deb'))) {
    await command(['dpkg-deb', '-x', join(place, file), unpacked], place);
    rmSync(join(place, file));
  }
  writeFileSync(join(place, 'done'), '');
  return unpacked;
}

/** Lists of another suite of the same archive, beside the machine's own. */
async function listsOf({ suite, architecture }, place) {
  const archives = await command(
    ['apt-get', 'indextargets', '--format', '$(REPO_URI) $(CODENAME)', 'Component: main'],
    place,
  );
  // `http://somewhere/debian/ bookworm`; updates and security have other code names.
  const archive = archives.split('\n').find((line) => /\/debian\/ \w+$/.test(line));
  if (archive === undefined) throw new Missing('apt knows no archive of Debian here');
  mkdirSync(join(place, 'lists', 'partial'), { recursive: true });
  mkdirSync(join(place, 'cache', 'archives', 'partial'), { recursive: true });
  writeFileSync(join(place, 'sources.list'), `deb ${archive.split(' ')[0]} ${suite} main\n`);
  const options = [
    ['APT::Architecture', architecture],
    ['APT::Architectures', architecture],
    // What is installed here, and of another architecture, is no matter.
    ['Dir::State::status', '/dev/null'],
    ['Dir::Etc::sourcelist', join(place, 'sources.list')],
    ['Dir::Etc::sourceparts', '/dev/null'],
    ['Dir::State::lists', join(place, 'lists')],
    ['Dir::Cache', join(place, 'cache')],
  ].flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  await apt([...options, 'update'], place);
  return options;
}

/** The folder may be one that apt's own user can't see. */
function apt(args, cwd) {
  return command(['apt-get', '-qq', '-o', 'APT::Sandbox::User=root', ...args], cwd);
}

async function command(args, cwd) {
  const { code, stdout, text } = await run(args, { cwd, env: process.env });
  if (code === 0) return stdout;
  throw new Missing(`${args.slice(0, 1)} ended with ${code}: ${text.trim().split('\n').at(-1)}`);
}
