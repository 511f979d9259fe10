import { describe, expect, it } from 'vitest';
import { average, IdleMeters, RateMeters } from '../src/meters.js';
import { frame } from './support/bytes.js';
import { startServer } from './support/server.js';
import { placements } from './support/transports.js';
import { until } from './support/wait.js';

describe('a rate meter', () => {
  it('has nothing to say of what is new', () => {
    expect(new RateMeters().read('a', 1234, 5000)).toBe(0);
  });

  it('says how many there were in a second', () => {
    const meters = new RateMeters();
    meters.read('a', 100, 1000);
    expect(meters.read('a', 110, 1500)).toBe(20);
    expect(meters.read('a', 110, 2000)).toBe(10);
    // From here on what came before 2000 doesn't count, once that is a second old.
    expect(meters.read('a', 115, 3000)).toBe(7.5);
    expect(meters.read('a', 115, 3500)).toBeCloseTo(5000 / 1500);
  });

  it('begins anew where another one counts from 0', () => {
    const meters = new RateMeters();
    meters.read('a', 100, 1000);
    expect(meters.read('a', 1, 2000)).toBe(0);
    expect(meters.read('a', 2, 2500)).toBe(2);
  });
});

describe('an idle meter', () => {
  it('says that what is new was idle', () => {
    expect(new IdleMeters().read('a', 1234, 5000)).toBe(1);
  });

  it('says what share of the time was idle since the first reading', () => {
    const meters = new IdleMeters();
    meters.read('a', 100, 1000);
    expect(meters.read('a', 100, 1100)).toBe(0);
    expect(meters.read('a', 150, 1200)).toBe(0.25);
    expect(meters.read('a', 1000, 1900)).toBe(1);
  });

  it('forgets what was before the last reading that is a second old', () => {
    const meters = new IdleMeters();
    meters.read('a', 0, 0);
    expect(meters.read('a', 1000, 1000)).toBe(1);
    expect(meters.read('a', 1500, 2000)).toBe(0.75);
    // From here on what came before 1000 doesn't count.
    expect(meters.read('a', 1500, 2500)).toBeCloseTo(500 / 1500);
    expect(meters.read('a', 1500, 3000)).toBe(0.25);
    // And from here what came before 2000.
    expect(meters.read('a', 1500, 3100)).toBe(0);
  });

  it('begins anew where another loop has taken the place', () => {
    const meters = new IdleMeters();
    meters.read('a', 5000, 6000);
    meters.read('a', 10, 7000);
    expect(meters.read('a', 60, 7100)).toBe(0.5);
  });

  it('keeps loops apart', () => {
    const meters = new IdleMeters();
    meters.read('a', 0, 0);
    meters.read('b', 0, 0);
    expect(meters.read('a', 10, 100)).toBe(0.1);
    expect(meters.read('b', 90, 100)).toBe(0.9);
    expect(average([0.1, 0.9])).toBe(0.5);
    expect(average([])).toBe(1);
  });
});

describe.each(placements)('idle percentages (%s)', (placement) => {
  it('are between 0 and 1, and grow from what loops have slept', async () => {
    const testServer = await startServer(placement, { handler: ({ body }) => body });
    const client = await testServer.connect();
    const { server } = testServer;
    const sleptMs = () => server.metrics().processors[0]?.idleMs ?? 0;
    const before = sleptMs();
    client.send(frame('a'));
    expect(await client.readText()).toBe('a');
    await until(() => sleptMs() >= before + 5, 'some rest');
    let metrics = server.metrics();
    await until(() => {
      metrics = server.metrics();
      return metrics.requestHandlerAvgIdlePercent > 0;
    }, 'some rest of the handlers');
    const { networkProcessorAvgIdlePercent, requestHandlerAvgIdlePercent } = metrics;
    expect(networkProcessorAvgIdlePercent).toBe(
      average(metrics.processors.map(({ idlePercent }) => idlePercent)),
    );
    for (const ratio of [networkProcessorAvgIdlePercent, requestHandlerAvgIdlePercent]) {
      expect(ratio).toBeGreaterThan(0);
      expect(ratio).toBeLessThanOrEqual(1);
    }
  });
});
