// What brokers have written, out of the way of the next measurement.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../commands.mjs';

/**
 * Writes the logs in a folder to the disk and takes them out of the page cache. Otherwise the kernel
 * would write them during later measurements, on the same cores. And the cache would grow over
 * memory that nobody has used yet, which a virtual machine gets from its host page by page, for
 * several times the price of the write itself: like this it is the same memory again and again.
 */
export function forgetLogs(folder) {
  for (const name of readdirSync(folder, { recursive: true })) {
    if (!name.endsWith('.log')) continue;
    // Copies nothing; `nocache` is about the whole file then.
    const copy = ['if=/dev/null', `of=${join(folder, name)}`, 'count=0'];
    run('dd', [...copy, 'oflag=nocache', 'conv=notrunc,nocreat,fdatasync', 'status=none']);
  }
}
