import { describe, expect, test } from 'vitest';
import { transports } from '../support/transports.js';
import { hasKcat, Kcat, kcat, kcatSuite } from './kcat.js';
import {
  firstDifference,
  mixedValues,
  recordCount,
  startBroker,
  storedBytes,
  temporaryFolder,
} from './support.js';

/** Separates the records that kcat reads; not in any of them. */
const delimiter = '-=odradek=-';

/** Takes apart what kcat writes with `-f '%o %S\n%s'`. */
function parseRecords(output: Buffer): { offsets: number[]; values: Buffer[] } {
  const offsets: number[] = [];
  const values: Buffer[] = [];
  for (let at = 0; at < output.length; ) {
    const end = output.indexOf('\n', at);
    const [offset, size] = output.toString('utf8', at, end).split(' ').map(Number);
    offsets.push(offset ?? -1);
    values.push(output.subarray(end + 1, end + 1 + (size ?? 0)));
    at = end + 1 + (size ?? 0);
  }
  return { offsets, values };
}

async function readAll(address: string, topic: string, ...options: string[]) {
  const from = ['-C', '-q', '-b', address, '-t', topic, '-o', 'beginning', '-e'];
  return parseRecords(await kcat([...from, '-f', '%o %S\n%s', ...options]));
}

describe.skipIf(!hasKcat)(kcatSuite, () => {
  describe.each(transports)('over the %s transport', (transport) => {
    test('10,000 records come back the same, in order, and again after a restart', async () => {
      const dataDir = await temporaryFolder();
      const { broker, address } = await startBroker({ transport, dataDir });
      const values = mixedValues(1);
      const input = Buffer.concat(values.flatMap((value) => [value, Buffer.from(delimiter)]));
      await kcat(['-P', '-b', address, '-t', 'mixed', '-D', delimiter], input);

      const expectedOffsets = Array.from({ length: recordCount }, (_, i) => i);
      const before = await readAll(address, 'mixed');
      expect(firstDifference(before.values, values)).toBeNull();
      expect(before.offsets).toEqual(expectedOffsets);
      await broker.close();

      const { address: again, lines } = await startBroker({ transport, dataDir });
      const after = await readAll(again, 'mixed');
      expect(firstDifference(after.values, values)).toBeNull();
      expect(after.offsets).toEqual(expectedOffsets);
      expect(lines).toEqual([]);
    });

    test('lists the broker and its topics', async () => {
      const { address } = await startBroker({ transport, defaultPartitions: 2 });
      await kcat(['-P', '-b', address, '-t', 'listed'], 'one\n');
      const list = JSON.parse((await kcat(['-L', '-J', '-b', address])).toString());
      expect(list.brokers).toEqual([{ id: 1, name: address }]);
      expect(list.topics).toMatchObject([
        {
          topic: 'listed',
          partitions: [
            { partition: 0, leader: 1 },
            { partition: 1, leader: 1 },
          ],
        },
      ]);
    });

    test.each(['gzip', 'snappy', 'lz4', 'zstd'])('%s passes through', async (codec) => {
      const dataDir = await temporaryFolder();
      const { address } = await startBroker({ transport, dataDir });
      const lines = Array.from({ length: 1000 }, (_, i) => `line ${i} of compressible text`);
      await kcat(['-P', '-b', address, '-t', 'packed', '-z', codec], `${lines.join('\n')}\n`);
      expect(await storedBytes(dataDir, 'packed')).toBeLessThan(lines.join().length / 2);
      const { values } = await readAll(address, 'packed');
      expect(values.map(String)).toEqual(lines);
    });

    test.each(['0', '1', 'all'])('produces with acks=%s, keys and headers', async (acks) => {
      const { address } = await startBroker({ transport });
      // With acks=0 nobody would hear that the topic is only being made.
      await kcat(['-P', '-b', address, '-t', 'acked'], 'first\n');
      const options = ['-K', ':', '-H', 'a=b', '-X', `acks=${acks}`];
      await kcat(['-P', '-b', address, '-t', 'acked', ...options], 'k1:v1\nk2:v2\n');
      const consumer = new Kcat([
        '-C',
        '-q',
        '-b',
        address,
        '-t',
        'acked',
        '-o',
        '1',
        '-c',
        '2',
        '-f',
        '%k %s %h\n',
      ]);
      expect((await consumer.done).toString()).toBe('k1 v1 a=b\nk2 v2 a=b\n');
    });

    test('an idempotent producer', async () => {
      const { address } = await startBroker({ transport });
      const lines = Array.from({ length: 500 }, (_, i) => `line ${i}`);
      const options = ['-X', 'enable.idempotence=true', '-X', 'batch.num.messages=7'];
      await kcat(['-P', '-b', address, '-t', 'once', ...options], `${lines.join('\n')}\n`);
      expect((await readAll(address, 'once')).values.map(String)).toEqual(lines);
    });

    test('a consumer that waits at the end gets what is produced then', async () => {
      const { address } = await startBroker({ transport });
      await kcat(['-P', '-b', address, '-t', 'live'], 'before\n');
      const consumer = new Kcat(['-C', '-b', address, '-t', 'live', '-o', 'end', '-c', '1']);
      await consumer.says('Reached end of topic live');
      await kcat(['-P', '-b', address, '-t', 'live'], 'after\n');
      expect((await consumer.done).toString()).toBe('after\n');
    });

    test('finds its place by time', async () => {
      const { address } = await startBroker({ transport });
      await kcat(['-P', '-b', address, '-t', 'timed'], 'early\n');
      const between = Date.now();
      await kcat(['-P', '-b', address, '-t', 'timed'], 'late\nlater\n');
      const { offsets } = await readAll(address, 'timed', '-o', `s@${between}`);
      expect(offsets).toEqual([1, 2]);
      const query = await kcat(['-Q', '-b', address, '-t', `timed:0:${between}`]);
      expect(query.toString()).toContain('timed [0] offset 1');
    });

    test('a group goes on where it stopped, also after a restart', async () => {
      const dataDir = await temporaryFolder();
      const { broker, address } = await startBroker({ transport, dataDir });
      const group = (at: string, count: number) => {
        const options = ['-X', 'auto.offset.reset=earliest', '-c', String(count)];
        return kcat(['-G', 'readers', 'log', '-q', '-b', at, ...options]);
      };
      await kcat(['-P', '-b', address, '-t', 'log'], 'one\ntwo\nthree\nfour\n');
      expect((await group(address, 1)).toString()).toBe('one\n');
      expect((await group(address, 2)).toString()).toBe('two\nthree\n');
      await broker.close();
      const { address: again } = await startBroker({ transport, dataDir });
      expect((await group(again, 1)).toString()).toBe('four\n');
    });
  });
});
