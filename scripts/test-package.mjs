// npm run test:package: packs what would be published, installs it into empty projects, and proves that
// it serves there. `npm run prebuild` comes first.
//
//   node scripts/test-package.mjs                         every leg of package/legs.mjs
//   node scripts/test-package.mjs npm-11-node-20 types    those named
//
// Ends with `N passed, N failed, N skipped`. A leg is skipped where its tools can't be had, but never with
// CI=true.
import { legs } from './package/legs.mjs';
import { makeTarball } from './package/tarball.mjs';
import { Missing } from './package/tools.mjs';

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(legs);
const total = { passed: 0, failed: 0, skipped: 0 };

const unknown = names.filter((name) => !(name in legs));
if (unknown.length > 0) {
  console.error(`no leg ${unknown.join(', ')}; there are ${Object.keys(legs).join(', ')}`);
  process.exit(2);
}

let path;
await count('tarball', async () => {
  const tarball = await makeTarball();
  path = tarball.path;
  if (tarball.problems.length > 0) throw new Error(tarball.problems.join('\n'));
});
if (path !== undefined) for (const name of names) await count(name, () => legs[name](path));
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
if (total.failed > 0) process.exitCode = 1;

async function count(name, run) {
  const began = Date.now();
  const outcome = await outcomeOf(run);
  total[outcome.kind]++;
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  console.log(`${outcome.kind} ${name} (${seconds} s)${outcome.text}`);
}

async function outcomeOf(run) {
  try {
    await run();
    return { kind: 'passed', text: '' };
  } catch (error) {
    const isSkipped = error instanceof Missing && process.env.CI !== 'true';
    if (isSkipped) return { kind: 'skipped', text: `: ${error.message}` };
    return { kind: 'failed', text: `\n${error.stack ?? error}` };
  }
}
