import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

interface Content {
  readonly clusterId: string;
  /** The first producer id that was never given out. */
  readonly nextProducerId: number;
}

/** `broker.json`: what the broker must know again after a restart, apart from its logs. */
export class BrokerFile {
  readonly #path: string;
  #content: Content;

  private constructor(path: string, content: Content) {
    this.#path = path;
    this.#content = content;
  }

  static async open(folder: string): Promise<BrokerFile> {
    const path = join(folder, 'broker.json');
    try {
      return new BrokerFile(path, JSON.parse(await readFile(path, 'utf8')) as Content);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    const clusterId = randomBytes(16).toString('base64url');
    const file = new BrokerFile(path, { clusterId, nextProducerId: 1 });
    await file.#write();
    return file;
  }

  get clusterId(): string {
    return this.#content.clusterId;
  }

  get nextProducerId(): number {
    return this.#content.nextProducerId;
  }

  async setNextProducerId(nextProducerId: number): Promise<void> {
    this.#content = { ...this.#content, nextProducerId };
    await this.#write();
  }

  /** By renaming: a file that is cut short in the middle never has the name. */
  async #write(): Promise<void> {
    await writeFile(`${this.#path}.new`, `${JSON.stringify(this.#content)}\n`);
    await rename(`${this.#path}.new`, this.#path);
  }
}
