#!/usr/bin/env node
import { OdradekError, textOf } from '../errors.js';
import { buildAddon } from './build.js';
import { doctor } from './doctor.js';
import { packageVersion } from './package-root.js';

const usage = `Usage: odradek <command>

  doctor   says which transport serves here and why, and which limits of the system matter
  build    compiles the native transport from the package's sources, for a platform that it has no
           binary for; needs node-gyp, Python, make and a C++20 compiler

Exit codes: 0 all is well; 1 'doctor': the js transport would serve, 'build': it failed; 2 not used
as above.
`;

/** Runs one command; the exit code. */
async function run(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  if (rest.length === 0) {
    if (command === 'doctor') return doctor(process.stdout);
    if (command === 'build') return build();
    if (command === '--help' || command === '-h') return print(usage);
    if (command === '--version' || command === '-v') return print(`${packageVersion()}\n`);
  }
  process.stderr.write(usage);
  return 2;
}

async function build(): Promise<number> {
  try {
    const file = await buildAddon();
    return print(`built ${file}; it is taken before any binary that was shipped\n`);
  } catch (error) {
    const text = error instanceof OdradekError ? `${error.code}: ${error.message}` : textOf(error);
    process.stderr.write(`${text}\n`);
    return 1;
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

process.exitCode = await run(process.argv.slice(2));
