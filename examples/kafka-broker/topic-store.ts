import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KafkaError } from './errors.js';
import { Log, type LogOptions } from './log/log.js';

export interface Topic {
  readonly name: string;
  readonly id: string;
  /** One log for each partition, by its number. */
  readonly partitions: readonly Log[];
}

export interface TopicStoreOptions extends LogOptions {
  /** Partitions of all topics together. */
  readonly maxPartitions: number;
}

interface TopicFile {
  readonly id: string;
  readonly partitions: number;
}

const topicFile = 'topic.json';
/** Not legal in a topic's name: marks folders that are being made or removed. */
const unfinishedMark = '~';

/**
 * The topics and their partitions, a folder each:
 * `topics/<name>/topic.json` and `topics/<name>/<partition>/*.log`.
 */
export class TopicStore {
  readonly #folder: string;
  readonly #options: TopicStoreOptions;
  readonly #topics = new Map<string, Topic>();
  readonly #byId = new Map<string, Topic>();
  readonly #creating = new Map<string, Promise<Topic>>();
  readonly #removing = new Map<string, Promise<void>>();
  #partitions = 0;

  private constructor(folder: string, options: TopicStoreOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  static async open(folder: string, options: TopicStoreOptions): Promise<TopicStore> {
    const store = new TopicStore(folder, options);
    await mkdir(folder, { recursive: true });
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      // Left over from a creation or a deletion that the process's end cut short.
      const unfinished = entry.name.includes(unfinishedMark);
      if (unfinished) await rm(join(folder, entry.name), { recursive: true });
      else await store.#load(entry.name);
    }
    return store;
  }

  get(name: string): Topic | undefined {
    return this.#topics.get(name);
  }

  byId(id: string): Topic | undefined {
    return this.#byId.get(id);
  }

  all(): Topic[] {
    return [...this.#topics.values()];
  }

  partition(topic: string, partition: number): Log | undefined {
    return this.#topics.get(topic)?.partitions[partition];
  }

  /** @throws KafkaError if there can't be such a topic */
  check(name: string, partitions: number): void {
    if (!isLegalName(name)) throw new KafkaError('INVALID_TOPIC_EXCEPTION');
    if (this.#topics.has(name)) throw new KafkaError('TOPIC_ALREADY_EXISTS');
    if (partitions < 1) throw new KafkaError('INVALID_PARTITIONS');
    if (this.#partitions + partitions > this.#options.maxPartitions) {
      throw new KafkaError('POLICY_VIOLATION', `${this.#options.maxPartitions} partitions at most`);
    }
  }

  /** @throws KafkaError as {@link check} */
  create(name: string, partitions: number): Promise<Topic> {
    const other = this.#creating.get(name);
    if (other !== undefined) {
      return other.then(() => {
        throw new KafkaError('TOPIC_ALREADY_EXISTS');
      });
    }
    this.check(name, partitions);
    this.#partitions += partitions;
    const creating = this.#create(name, partitions)
      .catch((error: unknown) => {
        this.#partitions -= partitions;
        throw error;
      })
      .finally(() => this.#creating.delete(name));
    this.#creating.set(name, creating);
    return creating;
  }

  /** The topic of that name, made first if need be. */
  async ensure(name: string, partitions: number): Promise<Topic> {
    const there = this.#topics.get(name) ?? this.#creating.get(name);
    return there ?? this.create(name, partitions);
  }

  async delete(topic: Topic): Promise<void> {
    if (this.#topics.get(topic.name) !== topic) throw new KafkaError('UNKNOWN_TOPIC_OR_PARTITION');
    this.#topics.delete(topic.name);
    this.#byId.delete(topic.id);
    this.#partitions -= topic.partitions.length;
    const removing = this.#remove(topic).finally(() => this.#removing.delete(topic.name));
    this.#removing.set(topic.name, removing);
    await removing;
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#creating.values(), ...this.#removing.values()]);
    await Promise.all(this.all().flatMap(({ partitions }) => partitions.map((log) => log.close())));
  }

  async #remove(topic: Topic): Promise<void> {
    await Promise.all(topic.partitions.map((log) => log.close({ sync: false })));
    // Once it has another name it is gone, even if the process ends before all files are.
    const removed = join(this.#folder, `${topic.id}${unfinishedMark}`);
    await rename(join(this.#folder, topic.name), removed);
    await rm(removed, { recursive: true });
  }

  async #create(name: string, partitions: number): Promise<Topic> {
    // The folder of a topic that had this name may still be there.
    await this.#removing.get(name);
    const file: TopicFile = { id: randomUUID(), partitions };
    const unfinished = join(this.#folder, `${file.id}${unfinishedMark}`);
    await mkdir(unfinished);
    await writeFile(join(unfinished, topicFile), JSON.stringify(file));
    await rename(unfinished, join(this.#folder, name));
    return this.#open(name, file);
  }

  async #load(name: string): Promise<void> {
    const path = join(this.#folder, name, topicFile);
    const file = JSON.parse(await readFile(path, 'utf8')) as TopicFile;
    this.#partitions += file.partitions;
    await this.#open(name, file);
  }

  async #open(name: string, { id, partitions: count }: TopicFile): Promise<Topic> {
    const partitions: Log[] = [];
    for (let i = 0; i < count; i++) {
      partitions.push(await Log.open(join(this.#folder, name, String(i)), this.#options));
    }
    const topic = { name, id, partitions };
    this.#topics.set(name, topic);
    this.#byId.set(id, topic);
    return topic;
  }
}

function isLegalName(name: string): boolean {
  return /^[A-Za-z0-9._-]{1,249}$/.test(name) && name !== '.' && name !== '..';
}
