import { readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

/** The folders that brokers of this process hold. */
const held = new Set<string>();

/**
 * Keeps a second broker out of a data folder: two of them would write into each other's segments.
 * The lock is a file with this process's id. One whose process is gone is taken over.
 *
 * @returns what gives the folder back
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const path = join(resolve(folder), 'broker.pid');
  if (held.has(path)) throw inUse(folder, process.pid);
  held.add(path);
  try {
    await takeOver(path, folder);
  } catch (error) {
    held.delete(path);
    throw error;
  }
  return async () => {
    await rm(path, { force: true });
    held.delete(path);
  };
}

async function takeOver(path: string, folder: string): Promise<void> {
  const write = () => writeFile(path, String(process.pid), { flag: 'wx' });
  try {
    await write();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const owner = Number(await readFile(path, 'utf8'));
    if (owner !== process.pid && isAlive(owner)) throw inUse(folder, owner);
    await rm(path, { force: true });
    await write();
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid < 1) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function inUse(folder: string, pid: number): Error {
  return new Error(
    `the data folder ${folder} is in use by the broker with process id ${pid}; ` +
      `if there is none, delete broker.pid in it`,
  );
}
