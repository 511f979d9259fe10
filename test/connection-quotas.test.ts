import { describe, expect, it } from 'vitest';
import {
  type ConnectionLimitOptions,
  checkConnectionLimits,
  type ListenerLimitOptions,
} from '../src/connection-limits.js';
import { ConnectionQuotas, type Verdict } from '../src/transport/js/connection-quotas.js';

// The js transport's counterpart of native/test/connection_quotas_test.cc. Time is a number here.

const external = 0;
const admin = 1;
const replication = 2;

interface Changes extends ConnectionLimitOptions {
  listeners?: Record<string, ListenerLimitOptions>;
}

const off: ConnectionLimitOptions = {
  maxConnections: Infinity,
  maxConnectionsPerIp: Infinity,
  maxConnectionCreationRate: Infinity,
  maxConnectionCreationRatePerIp: Infinity,
};

function limitsOf({ listeners = {}, ...ofServer }: Changes) {
  const names = ['external', 'admin', 'replication'];
  return checkConnectionLimits(
    { ...off, protectedListener: 'replication', ...ofServer },
    names.map((name) => ({
      name,
      maxConnections: listeners[name]?.maxConnections,
      maxConnectionCreationRate: listeners[name]?.maxConnectionCreationRate,
    })),
  );
}

class Door {
  readonly quotas: ConnectionQuotas;
  now = 100_000;
  readonly #releases: (() => void)[] = [];

  constructor(changes: Changes = {}) {
    this.quotas = new ConnectionQuotas(limitsOf(changes));
  }

  use(changes: Changes): void {
    this.quotas.update(limitsOf(changes));
  }

  ask(listener: number, address = '10.0.0.1'): Verdict {
    const verdict = this.quotas.admit(listener, address, this.now);
    if (verdict.kind === 'admitted') {
      this.#releases.push(() => this.quotas.release(verdict.admission, false));
    }
    return verdict;
  }

  open(count: number, listener: number, address?: string): void {
    for (let i = 0; i < count; i++) expect(this.ask(listener, address).kind).toBe('admitted');
  }

  closeLast(): void {
    this.#releases.pop()?.();
  }

  closeAll(): void {
    while (this.#releases.length > 0) this.closeLast();
  }

  /** How many are let in in a second in which they come as fast as they may. */
  inASecond(listener: number): number {
    const end = this.now + 1000;
    let admitted = 0;
    while (this.now < end) {
      const verdict = this.ask(listener);
      if (verdict.kind === 'admitted') admitted++;
      else if (verdict.kind !== 'refuse') this.now = Math.min(verdict.until, end);
    }
    return admitted;
  }
}

describe('ConnectionQuotas of the js transport', () => {
  it('limits nothing by itself', () => {
    const door = new Door();
    for (const listener of [external, admin, replication]) door.open(10_000, listener);
    expect(door.quotas.total).toBe(30_000);
    expect(door.quotas.hasExcess).toBe(false);
    door.closeAll();
    expect(door.quotas.total).toBe(0);
    expect(door.quotas.ofListener(admin).connections).toBe(0);
    door.ask(external, '10.0.0.2');
    expect(door.quotas.addresses).toBe(1);
  });

  it('gives an address its places on all listeners together', () => {
    const door = new Door({ maxConnectionsPerIp: 17 });
    door.open(10, external);
    door.open(7, admin);
    expect(door.ask(external)).toEqual({ kind: 'refuse' });
    expect(door.ask(replication)).toEqual({ kind: 'refuse' });
    door.open(17, external, '10.0.0.2');
    expect(door.quotas.total).toBe(34);
    door.closeLast();
    door.open(1, admin, '10.0.0.2');
    expect(door.ask(admin, '10.0.0.2').kind).toBe('refuse');
  });

  it('takes the narrowest override', () => {
    const door = new Door({
      maxConnectionsPerIp: 0,
      maxConnectionsPerIpOverrides: { '10.0.0.0/8': 2, '10.0.0.7': 3, '10.0.0.0/24': 1 },
    });
    expect(door.ask(external, '192.0.2.1').kind).toBe('refuse');
    door.open(2, external, '10.9.0.1');
    expect(door.ask(external, '10.9.0.1').kind).toBe('refuse');
    door.open(1, external, '10.0.0.1');
    expect(door.ask(external, '10.0.0.1').kind).toBe('refuse');
    door.open(3, external, '10.0.0.7');
    expect(door.ask(external, '10.0.0.7').kind).toBe('refuse');
  });

  it('lets acceptors wait at the total, but for the protected one', () => {
    const door = new Door({ maxConnections: 800 });
    door.open(800, external);
    expect(door.ask(external)).toEqual({ kind: 'wait', until: Infinity });
    expect(door.ask(admin)).toEqual({ kind: 'wait', until: Infinity });
    door.open(3, replication);
    expect(door.quotas.hasExcess).toBe(true);
    for (let i = 0; i < 3; i++) door.closeLast();
    expect(door.ask(admin).kind).toBe('wait');
    door.closeLast();
    door.open(1, admin);
  });

  it('gives each listener its places', () => {
    const each = { maxConnections: 200 };
    const door = new Door({ listeners: { external: each, admin: each, replication: each } });
    for (const listener of [external, admin, replication]) {
      door.open(200, listener);
      expect(door.ask(listener).kind).toBe('wait');
    }
    door.closeLast();
    door.open(1, replication);
    expect(door.ask(external).kind).toBe('wait');
  });

  it('keeps to the rate of all, but for the protected one', () => {
    const door = new Door({ maxConnectionCreationRate: 100 });
    expect(door.inASecond(external)).toBe(100 + 99);
    expect(door.inASecond(admin)).toBe(100);
    door.open(1, external);
    expect(door.ask(external).kind).toBe('wait');
    door.open(1000, replication);
  });

  it('keeps to the rate of each listener', () => {
    const each = { maxConnectionCreationRate: 25 };
    const door = new Door({ listeners: { external: each, admin: each, replication: each } });
    for (const listener of [external, admin, replication]) {
      expect(door.inASecond(listener)).toBe(25 + 24);
      expect(door.inASecond(listener)).toBe(25);
    }
  });

  it('waits for the later of both rates', () => {
    const door = new Door({
      maxConnectionCreationRate: 10,
      listeners: { external: { maxConnectionCreationRate: 2 } },
    });
    door.open(2, external);
    expect(door.ask(external)).toEqual({ kind: 'wait', until: door.now + 500 });
    door.open(8, admin);
    expect(door.ask(admin)).toEqual({ kind: 'wait', until: door.now + 100 });
  });

  it('holds back an address above its rate, on every listener, and records it nowhere', () => {
    const door = new Door({
      maxConnectionCreationRatePerIp: 20,
      maxConnectionCreationRate: 22,
    });
    door.open(20, external);
    for (let i = 0; i < 50; i++) {
      expect(door.ask(external)).toEqual({ kind: 'park', until: door.now + 50 });
      expect(door.ask(replication).kind).toBe('park');
    }
    expect(door.quotas.total).toBe(20);
    door.open(2, external, '10.0.0.2');
    expect(door.ask(external, '10.0.0.3').kind).toBe('wait');
    door.now += 50;
    door.open(1, admin);
    expect(door.ask(admin).kind).toBe('park');
  });

  it('forgets addresses once their rates are', () => {
    const door = new Door({ maxConnectionCreationRatePerIp: 2 });
    for (let i = 0; i < 100; i++) door.open(1, external, `10.0.1.${i}`);
    door.closeAll();
    expect(door.quotas.addresses).toBe(100);
    door.now += 501;
    door.ask(external, '10.0.2.1');
    expect(door.quotas.addresses).toBe(1);
  });

  it('goes by other limits at once', () => {
    const door = new Door({ maxConnectionCreationRatePerIp: 10 });
    door.open(10, external);
    expect(door.ask(external).kind).toBe('park');
    door.use({});
    door.open(100, external);
    door.use({ maxConnectionCreationRate: 50 });
    expect(door.inASecond(external)).toBe(50 + 49);
  });

  it('has those above a lower total closed, once', () => {
    const door = new Door();
    door.open(2, external);
    door.open(8, replication);
    door.use({ maxConnections: 9 });
    expect(door.quotas.takeExcess(5)).toBe(1);
    expect(door.quotas.takeExcess(5)).toBe(0);
    door.use({ maxConnections: 3 });
    // One that isn't protected is left.
    expect(door.quotas.takeExcess(1)).toBe(1);
    const { quotas } = door;
    quotas.release({ address: '10.0.0.1', listener: external }, true);
    quotas.release({ address: '10.0.0.1', listener: external }, true);
    expect(quotas.hasExcess).toBe(false);
    door.use({ maxConnections: 3, protectedListener: 'admin' });
    expect(quotas.takeExcess(9)).toBe(5);
  });
});
