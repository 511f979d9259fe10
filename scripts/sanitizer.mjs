// The addon under ASan and UBSan, or under TSan, in a Node that knows nothing of either: where it
// is built, the environment that makes a process load it, and what such processes reported.
//
// node itself is not instrumented: the sanitizer's runtime is preloaded, and node-gyp-build takes
// the addon from the folder that ODRADEK_PREBUILD names. build/Release stays as it is.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const suppressions = fileURLToPath(new URL('./tsan-suppressions.txt', import.meta.url));

const kinds = {
  asan: { setting: 'address,undefined', runtime: 'libasan.so', findingsOf: addressFindings },
  tsan: { setting: 'thread', runtime: 'libtsan.so', findingsOf: threadFindings },
};

export const sanitizerNames = Object.keys(kinds);

/** What npx runs to build the addon under a sanitizer. */
export function buildArguments(name) {
  const setting = `--CDODRADEK_SANITIZE=${kinds[name].setting}`;
  return ['cmake-js', 'compile', '-d', 'native', '-O', `build/${name}/build`, setting];
}

/** Processes under one sanitizer, and their reports. */
export class Sanitizer {
  #kind;
  #reports;
  /** What the environment of such a process has besides. */
  environment;

  constructor(name) {
    this.#kind = kinds[name];
    this.#reports = `${root}build/${name}/reports-${process.pid}`;
    rmSync(this.#reports, { recursive: true, force: true });
    mkdirSync(this.#reports, { recursive: true });
    const libraries = [this.#kind.runtime, 'libstdc++.so'].map(pathOfLibrary);
    // Every frame with its module, by which ours are told from node's; TSan has it so by itself.
    const format = 'stack_trace_format="    #%n %f %S (%m)"';
    // A report changes no exit code, since exit codes are under test too; an error that can't be
    // survived aborts. All of it goes to files, one a process.
    const common = `exitcode=0:abort_on_error=1:log_path=${this.#reports}/report`;
    this.environment = {
      ODRADEK_PREBUILD: `${root}build/${name}`,
      LD_PRELOAD: libraries.join(' '),
      ASAN_OPTIONS: `detect_leaks=1:${format}:${common}`,
      UBSAN_OPTIONS: `print_stacktrace=1:${common}`,
      TSAN_OPTIONS: `suppressions=${suppressions}:history_size=7:atexit_sleep_ms=100:${common}`,
    };
  }

  /** What was reported, since the last call, by processes that have ended. */
  takeFindings() {
    const ended = readdirSync(this.#reports).filter(
      (file) => !isAlive(Number(extname(file).slice(1))),
    );
    return ended.flatMap((file) => {
      const path = `${this.#reports}/${file}`;
      const report = readFileSync(path, 'utf8');
      rmSync(path);
      return this.#kind.findingsOf(report);
    });
  }

  /** Removes the folder of reports. */
  close() {
    rmSync(this.#reports, { recursive: true, force: true });
  }
}

/**
 * Everything that ASan and UBSan say, and leaks of what the addon allocated: itself, or through
 * Node-API. What V8 allocated is left out: at process.exit() it is alive, but held by V8's heap, in
 * which the leak check doesn't look. A suppression can't tell the two apart, since node stands in
 * every stack.
 */
export function addressFindings(report) {
  const leaks = report.indexOf('ERROR: LeakSanitizer');
  if (leaks < 0) return [report];
  return report
    .slice(leaks)
    .split(/\n\n/)
    .filter((block) => /(Direct|Indirect) leak of/.test(block) && isLeakOfAddon(block));
}

function isLeakOfAddon(block) {
  const frames = block.split('\n').filter((line) => /^ +#\d+ /.test(line));
  const addon = frames.findIndex((frame) => frame.includes('odradek.node'));
  if (addon < 0) return false;
  return !frames.slice(0, addon).some((frame) => frame.includes('v8::internal::'));
}

/**
 * Everything that TSan says, but reports in which all stacks are whole and the addon stands in none
 * of them: those are of node alone. It is not instrumented, so TSan sees only half of how its
 * threads synchronize.
 */
export function threadFindings(report) {
  return report
    .split(/^=+$/m)
    .filter((block) => block.trim() !== '')
    .filter((block) => block.includes('odradek.node') || block.includes('failed to restore'))
    .filter((block) => !isDescriptorOfLibuv(block));
}

/**
 * libuv closes descriptors by a system call that TSan doesn't see. It takes the number for still open
 * when the kernel gives it to somebody else, and both for its writers.
 */
function isDescriptorOfLibuv(block) {
  return /^ +#0 (accept4|dup3?|epoll_create1|eventfd|open(64)?|pipe2?|socket) .*\n +#1 uv_.*\(node\+/m.test(
    block,
  );
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function pathOfLibrary(name) {
  const path = execFileSync('gcc', [`-print-file-name=${name}`])
    .toString()
    .trim();
  if (!path.includes('/')) throw new Error(`gcc has no ${name}`);
  return path;
}
