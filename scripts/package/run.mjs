// Runs a command to its end, as somebody would who has none of this machine's settings.
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Far more than anything needs; what hangs is a failure. */
const timeoutMs = 5 * 60_000;

/**
 * The environment of a user without any npm configuration: this process may itself be run by npm.
 *
 * @param {{ home: string, path?: string[] }} options the user's folder; folders to look for commands in
 *   first
 */
export function cleanEnv({ home, path = [] }) {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|pnpm_|yarn_|bun_|node_options$|node_path$|init_cwd$)/i.test(name),
  );
  mkdirSync(home, { recursive: true });
  const userconfig = join(home, '.npmrc');
  writeFileSync(userconfig, '', { flag: 'a' });
  return {
    ...Object.fromEntries(kept),
    HOME: home,
    XDG_CACHE_HOME: join(home, 'cache'),
    XDG_CONFIG_HOME: join(home, 'config'),
    XDG_DATA_HOME: join(home, 'data'),
    npm_config_userconfig: userconfig,
    CI: 'true',
    NO_COLOR: '1',
    PATH: [...path, process.env.PATH].join(delimiter),
  };
}

/**
 * @param {string[]} command and its arguments
 * @param {{ cwd: string, env: Record<string, string | undefined> }} options
 * @returns {Promise<{ code: number | string, stdout: string, stderr: string, text: string }>} `text`
 *   is both outputs as they came
 */
export function run([command, ...args], { cwd, env }) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
    });
    const seen = { stdout: '', stderr: '', text: '' };
    for (const name of ['stdout', 'stderr']) {
      child[name].setEncoding('utf8').on('data', (text) => {
        seen[name] += text;
        seen.text += text;
      });
    }
    child.on('error', (error) => resolve({ code: error.message, ...seen }));
    child.on('close', (code, signal) => resolve({ code: code ?? signal, ...seen }));
  });
}

/** As {@link run}, and throws with all its output unless it ends with 0, or with the code expected. */
export async function must(command, options, expected = 0) {
  const result = await run(command, options);
  if (result.code === expected) return result;
  throw new Error(`${command.join(' ')}\nended with ${result.code}\n${result.text.trim()}`);
}
