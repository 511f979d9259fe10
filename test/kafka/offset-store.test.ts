import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { OffsetStore } from '../../examples/kafka-broker/groups/offset-store.js';
import { temporaryFolder } from './support.js';

async function openStore(folder: string, segmentBytes = 2 ** 30): Promise<OffsetStore> {
  const report = (line: string) => expect.unreachable(line);
  const store = await OffsetStore.open(folder, { segmentBytes, report });
  onTestFinished(() => store.close());
  return store;
}

const at = (topic: string, partition: number, offset: number) => ({
  ...{ topic, partition, offset },
  ...{ leaderEpoch: 0, metadata: `note ${offset}` },
});

test('the last commit counts, also after a restart', async () => {
  const folder = await temporaryFolder();
  const store = await openStore(folder);
  await store.commit('g', [at('a', 0, 1), at('a', 1, 2), at('b', 0, 3)]);
  await Promise.all([
    store.commit('g', [at('a', 0, 10)]),
    store.commit('h', [at('a', 0, 4)]),
    store.commit('g', [at('a', 0, 11)]),
  ]);
  await store.close();

  const again = await openStore(folder);
  for (const one of [store, again]) {
    expect(one.get('g', 'a', 0)).toEqual(at('a', 0, 11));
    expect(one.get('g', 'a', 1)).toEqual(at('a', 1, 2));
    expect(one.get('h', 'a', 0)).toEqual(at('a', 0, 4));
    expect(one.get('h', 'a', 1)).toBeUndefined();
    expect(one.groups()).toEqual(['g', 'h']);
    expect(one.ofGroup('g')).toHaveLength(3);
  }
});

test('offsets end with their group and with their topic', async () => {
  const folder = await temporaryFolder();
  const store = await openStore(folder);
  await store.commit('g', [at('a', 0, 1), at('b', 0, 1)]);
  await store.commit('h', [at('a', 0, 1)]);
  await store.deleteTopic('a');
  await store.commit('i', [at('b', 0, 1)]);
  await store.deleteGroup('i');
  await store.close();
  const again = await openStore(folder);
  for (const one of [store, again]) {
    expect(one.groups()).toEqual(['g']);
    expect(one.ofGroup('g')).toEqual([at('b', 0, 1)]);
  }
});

test('what does not count any more is not kept for ever', async () => {
  const folder = await temporaryFolder();
  const store = await openStore(folder, 20_000);
  await store.commit('kept', [at('a', 0, 42)]);
  for (let i = 0; i < 2000; i++) await store.commit('g', [at('a', i % 3, i)]);
  await store.close();
  let bytes = 0;
  for (const name of await readdir(folder)) bytes += (await stat(join(folder, name))).size;
  expect(bytes).toBeLessThan(45_000);
  const again = await openStore(folder, 20_000);
  expect(again.ofGroup('g')).toEqual([at('a', 0, 1998), at('a', 1, 1999), at('a', 2, 1997)]);
  expect(again.get('kept', 'a', 0)).toEqual(at('a', 0, 42));
});
