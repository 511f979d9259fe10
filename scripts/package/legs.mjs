// The legs of the suite, by name.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chooseTargets } from '../prebuilds/targets.mjs';
import { followGettingStarted } from './getting-started.mjs';
import { bun, bunCommand, denoCommand, npm, pnpm, yarn1, yarn4 } from './managers.mjs';
import { glibcArm64, muslArm64, muslX64 } from './platforms.mjs';
import { envOf, expectServed, install, prove, withProject } from './project.mjs';
import { must } from './run.mjs';
import { installTool, Missing, root, scriptOf } from './tools.mjs';

/** By a package manager, with install scripts and without. */
const managed = (make) => async (tarball) => {
  const manager = await make();
  for (const isIgnoring of [false, true]) {
    await withProject(async (folder) => {
      await install(manager, folder, tarball, isIgnoring);
      await prove(manager, folder);
    }, manager);
  }
};

/** By a binary that is not this machine's, which may not have been made. */
function shipped(target, make) {
  return async (tarball) => {
    const [{ file }] = chooseTargets([target]);
    if (!existsSync(join(root, 'prebuilds', file))) throw new Missing(`no prebuilds/${file}`);
    const manager = await make();
    await withProject(async (folder) => {
      await install(manager, folder, tarball, false);
      await prove(manager, folder);
    }, manager);
  };
}

/** By another runtime than Node: by the js transport, and it says why. */
function elsewhere(make) {
  return async (tarball) => {
    const runtime = await make();
    const manager = await npm('11', 20);
    await withProject(async (folder) => {
      await install(manager, folder, tarball, false);
      const options = { cwd: folder, env: envOf(manager) };
      const seen = await must([...runtime, 'import.mjs'], options);
      if (!/needs Node's event loop, which (Bun|Deno) has not/.test(seen.stderr)) {
        throw new Error(`it should say why it is not native:\n${seen.stderr}`);
      }
      // What they say of their own is no matter.
      expectServed({ ...seen, stderr: '' }, 'js');
    }, manager);
  };
}

/** @type {Record<string, (tarball: string) => Promise<void>>} */
export const legs = {
  'npm-11-node-20': managed(() => npm('11', 20)),
  'npm-12-node-22': managed(() => npm('12', 22)),
  'npm-12-node-24': managed(() => npm('12', 24)),
  'npm-12-node-26': managed(() => npm('12', 26)),
  pnpm: managed(() => pnpm('12', 24)),
  'yarn-1': managed(() => yarn1('1', 20)),
  'yarn-4': managed(() => yarn4('4', 22, 'node-modules')),
  'yarn-4-pnp': managed(() => yarn4('4', 24, 'pnp')),
  bun: managed(() => bun('1', 24)),
  'linux-x64-musl': shipped('linux-x64-musl', muslX64),
  'linux-arm64-glibc': shipped('linux-arm64-glibc', glibcArm64),
  'linux-arm64-musl': shipped('linux-arm64-musl', muslArm64),
  'bun-runtime': elsewhere(async () => [await bunCommand('1')]),
  'deno-runtime': elsewhere(async () => [await denoCommand('2'), 'run', '--allow-all']),
  readme,
  'getting-started': gettingStarted,
  types,
  lint,
  fallback,
  build,
};

/** The README's first program, by its own words but for the port. */
async function readme(tarball) {
  const manager = await npm('11', 20);
  const tsx = scriptOf(await installTool('tsx-4', 'tsx@4'), 'tsx');
  const text = readFileSync(join(root, 'README.md'), 'utf8');
  const program = /^```ts\n(.*?)^```/ms.exec(text)[1].replaceAll('9092', '0');
  await withProject(async (folder) => {
    await install(manager, folder, tarball, false);
    const options = { cwd: folder, env: { ...envOf(manager), PREBUILDS_ONLY: '1' } };
    await must([...manager.command, 'pkg', 'set', 'type=module'], options);
    // The client ends the server, which would go on.
    const client =
      "\nimport ask from './ask.cjs';\nawait ask(server.address().port);\nawait server.close();\n";
    writeFileSync(join(folder, 'server.ts'), program + client);
    const { stdout, stderr } = await must([...manager.node, tsx, 'server.ts'], options);
    if (!/port: \d+/.test(stdout) || stderr !== '') throw new Error(`${stdout}${stderr}`);
  }, manager);
}

/** What a new user does first, from an empty folder on. */
async function gettingStarted(tarball) {
  const manager = await npm('11', 20);
  await withProject(async (folder) => {
    const options = { cwd: folder, env: { ...envOf(manager), PREBUILDS_ONLY: '1' } };
    await followGettingStarted(manager, options, () => install(manager, folder, tarball, false));
  }, manager);
}

/** Type-checks a strict service against what is installed. */
async function types(tarball) {
  const manager = await npm('11', 20);
  await withProject(async (folder) => {
    await install(manager, folder, tarball, false);
    const { version } = await ours('@types/node');
    await install(
      { ...manager, installs: () => [[...manager.command, 'install', `@types/node@${version}`]] },
      folder,
    );
    for (const resolution of ['node16', 'bundler']) {
      const tsc = [process.execPath, join(root, 'node_modules', 'typescript', 'bin', 'tsc')];
      await must([...tsc, '-p', `tsconfig.${resolution}.json`], {
        cwd: folder,
        env: envOf(manager),
      });
    }
  });
}

async function ours(name) {
  const file = join(root, 'node_modules', name, 'package.json');
  return (await import(file, { with: { type: 'json' } })).default;
}

/** What others' checks of packages say. */
async function lint(tarball) {
  const publint = scriptOf(await installTool('publint-0.3.25', 'publint@0.3.25'), 'publint');
  const attw = scriptOf(await installTool('attw-0.18.5', '@arethetypeswrong/cli@0.18.5'), 'attw');
  const options = { cwd: root, env: envOf({ path: [] }) };
  const { text } = await must([process.execPath, publint, 'run', tarball, '--strict'], options);
  if (/warning|suggestion/i.test(text)) throw new Error(text);
  await must([process.execPath, attw, tarball, '--profile', 'esm-only'], options);
}

/** Without a binary: the js transport serves, says so once, and can be told not to. */
async function fallback(tarball) {
  const manager = await npm('11', 20);
  await withProject(async (folder) => {
    await install(manager, folder, tarball, false);
    rmSync(join(folder, 'node_modules', 'odradek', 'prebuilds'), { recursive: true });
    const options = { cwd: folder, env: envOf(manager) };
    const loud = await must([...manager.node, 'import.mjs'], options);
    const said = loud.stderr.match(/ODRADEK_JS_TRANSPORT\] OdradekWarning/g)?.length;
    if (said !== 1) throw new Error(`it should warn once:\n${loud.stderr}`);
    expectServed({ ...loud, stderr: '' }, 'js');
    const silenced = [...manager.node, '--disable-warning=ODRADEK_JS_TRANSPORT', 'import.mjs'];
    expectServed(await must(silenced, options), 'js');
    const doctor = await must([...manager.odradek, 'doctor'], options, 1);
    if (!/^transport +js/m.test(doctor.stdout) || !/npx odradek build/.test(doctor.stdout)) {
      throw new Error(`odradek doctor says\n${doctor.stdout}`);
    }
  }, manager);
}

/** Without a binary, but with a compiler: `odradek build` makes one, which is taken. */
async function build(tarball) {
  const manager = await npm('11', 20);
  await withProject(async (folder) => {
    await install(manager, folder, tarball, false);
    rmSync(join(folder, 'node_modules', 'odradek', 'prebuilds'), { recursive: true });
    writeFileSync(join(folder, '.npmrc'), await nodedir());
    const options = { cwd: folder, env: envOf(manager) };
    await must([...manager.odradek, 'build'], options);
    expectServed(await must([...manager.node, 'import.mjs'], options), 'native');
    const { stdout } = await must([...manager.odradek, 'doctor'], options);
    if (!/^binary .*build.Release.odradek\.node$/m.test(stdout)) throw new Error(stdout);
  }, manager);
}

/** Node's headers where this machine has them: node-gyp would fetch them from outside. */
async function nodedir() {
  const { stdout } = await must(['npm', 'config', 'get', 'nodedir'], {
    cwd: root,
    env: process.env,
  });
  const folder = stdout.trim();
  return folder === 'undefined' || folder === 'null' ? '' : `nodedir=${folder}\n`;
}
