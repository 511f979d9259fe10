import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Group } from '../../examples/kafka-broker/groups/group.js';
import type { JoinRequest, JoinResult } from '../../examples/kafka-broker/groups/member.js';
import { until, within } from '../support/wait.js';

let group: Group;

beforeEach(() => {
  group = new Group('g');
});

afterEach(() => {
  if (group.state !== 'Dead') group.end();
});

/** A connection that doesn't end. */
function connected(): AbortSignal {
  return new AbortController().signal;
}

interface JoinOptions extends Partial<JoinRequest> {
  names?: string[];
  signal?: AbortSignal;
}

/** Joins as a client does that gets its member id with the answer (before version 4). */
function join(options: JoinOptions = {}): Promise<JoinResult> {
  const { names = ['range'], signal = connected(), ...request } = options;
  return within(
    Promise.resolve(
      group.join(
        {
          ...{ memberId: '', instanceId: null, clientId: 'c', clientHost: '/127.0.0.1' },
          ...{ sessionTimeoutMs: 10_000, rebalanceTimeoutMs: 10_000, takesMemberId: false },
          protocolType: 'consumer',
          protocols: names.map((name) => ({ name, metadata: Buffer.from(name) })),
          ...request,
        },
        signal,
      ),
    ),
    'the answer to a join',
  );
}

function sync(member: JoinResult, assignments: Record<string, string> = {}, signal = connected()) {
  const entries = Object.entries(assignments).map(([id, text]) => [id, Buffer.from(text)] as const);
  const { memberId, generation } = member;
  const request = { memberId, generation, protocolType: null, protocol: null };
  return within(
    Promise.resolve(group.sync({ ...request, assignments: new Map(entries) }, signal)),
    'the answer to a sync',
  );
}

/** A group of two that is stable, the first one being the leader. */
async function twoMembers(options: JoinOptions = {}): Promise<[JoinResult, JoinResult]> {
  const first = await join(options);
  const second = join(options);
  const again = join({ ...options, memberId: first.memberId });
  const [leader, follower] = await Promise.all([again, second]);
  await Promise.all([
    sync(follower),
    sync(leader, { [leader.memberId]: 'left', [follower.memberId]: 'right' }),
  ]);
  expect(group.state).toBe('Stable');
  return [leader, follower];
}

describe('a round', () => {
  test('with one member is complete at once', async () => {
    const first = await join();
    expect(first).toMatchObject({ error: 'NONE', generation: 1, protocol: 'range' });
    expect(first.leader).toBe(first.memberId);
    expect(first.members.map(({ memberId }) => memberId)).toEqual([first.memberId]);
    expect(group.state).toBe('CompletingRebalance');
    const { assignment } = await sync(first, { [first.memberId]: 'all' });
    expect(assignment.toString()).toBe('all');
    expect(group.state).toBe('Stable');
  });

  test('with a newcomer waits for the others, whose heartbeats tell them to join', async () => {
    const first = await join();
    await sync(first, {});
    const second = join();
    expect(group.heartbeat(first.memberId, 1)).toBe('REBALANCE_IN_PROGRESS');
    const [leader, follower] = await Promise.all([join({ memberId: first.memberId }), second]);
    expect([leader.generation, follower.generation]).toEqual([2, 2]);
    expect(leader.members).toHaveLength(2);
    expect(follower.members).toEqual([]);
    const waiting = sync(follower);
    const given = { [leader.memberId]: 'left', [follower.memberId]: 'right' };
    expect((await sync(leader, given)).assignment.toString()).toBe('left');
    expect((await waiting).assignment.toString()).toBe('right');
    expect(group.heartbeat(follower.memberId, 2)).toBe('NONE');
    expect(group.heartbeat(follower.memberId, 1)).toBe('ILLEGAL_GENERATION');
  });

  test('goes on without those who do not come in time', async () => {
    const first = await join({ rebalanceTimeoutMs: 50 });
    await sync(first, {});
    const second = await join({ rebalanceTimeoutMs: 100 });
    expect(second).toMatchObject({ error: 'NONE', generation: 2, leader: second.memberId });
    expect(group.heartbeat(first.memberId, 1)).toBe('UNKNOWN_MEMBER_ID');
  });

  test('begins again when somebody joins before the leader has synced', async () => {
    const first = await join();
    const second = join();
    const [leader, follower] = await Promise.all([join({ memberId: first.memberId }), second]);
    const waiting = sync(follower);
    const third = join();
    expect((await waiting).error).toBe('REBALANCE_IN_PROGRESS');
    expect((await sync(leader, {})).error).toBe('REBALANCE_IN_PROGRESS');
    const results = await Promise.all([
      third,
      join({ memberId: leader.memberId }),
      join({ memberId: follower.memberId }),
    ]);
    expect(results.map(({ generation }) => generation)).toEqual([3, 3, 3]);
  });

  test('takes the protocol that all know and most prefer', async () => {
    const first = await join({ names: ['sticky', 'range', 'roundrobin'] });
    const joins = [
      join({ names: ['range', 'roundrobin'] }),
      join({ names: ['roundrobin', 'range'] }),
      join({ memberId: first.memberId, names: ['sticky', 'range', 'roundrobin'] }),
    ];
    for (const { protocol } of await Promise.all(joins)) expect(protocol).toBe('range');
    expect((await join({ names: ['unknown'] })).error).toBe('INCONSISTENT_GROUP_PROTOCOL');
    const other = await join({ protocolType: 'connect' });
    expect(other.error).toBe('INCONSISTENT_GROUP_PROTOCOL');
  });

  test('is not begun by a follower that joins again unchanged, but by the leader', async () => {
    const [leader, follower] = await twoMembers();
    const again = await join({ memberId: follower.memberId });
    expect(again).toMatchObject({ error: 'NONE', generation: 2 });
    expect(group.state).toBe('Stable');
    const round = join({ memberId: leader.memberId });
    expect(group.state).toBe('PreparingRebalance');
    await Promise.all([round, join({ memberId: follower.memberId })]);
    expect(group.generation).toBe(3);
  });

  test('is begun by a follower that joins with other topics', async () => {
    const [leader, follower] = await twoMembers();
    const protocols = [{ name: 'range', metadata: Buffer.from('other topics') }];
    const round = join({ memberId: follower.memberId, protocols });
    expect(group.state).toBe('PreparingRebalance');
    const [, { members }] = await Promise.all([round, join({ memberId: leader.memberId })]);
    expect(members.map(({ metadata }) => metadata.toString()).sort()).toEqual([
      'other topics',
      'range',
    ]);
  });
});

describe('members', () => {
  test('that can be told their id first join with it', async () => {
    const refused = await join({ takesMemberId: true });
    expect(refused.error).toBe('MEMBER_ID_REQUIRED');
    expect(refused.memberId).toMatch(/^c-/);
    const { memberId } = refused;
    expect(await join({ takesMemberId: true, memberId })).toMatchObject({
      error: 'NONE',
      memberId,
    });
    const stranger = await join({ takesMemberId: true, memberId: 'c-invented' });
    expect(stranger.error).toBe('UNKNOWN_MEMBER_ID');
  });

  test('that were told their id are waited for, but not for ever', async () => {
    const refused = await join({ takesMemberId: true, sessionTimeoutMs: 100 });
    expect(refused.error).toBe('MEMBER_ID_REQUIRED');
    const other = join();
    expect(group.state).toBe('PreparingRebalance');
    expect((await other).members).toHaveLength(1);
    const late = await join({ takesMemberId: true, memberId: refused.memberId });
    expect(late.error).toBe('UNKNOWN_MEMBER_ID');
  });

  test('that are silent for their session time are out', async () => {
    const [leader, follower] = await twoMembers({ sessionTimeoutMs: 150 });
    const stop = setInterval(() => group.heartbeat(leader.memberId, 2), 20);
    await until(() => group.state === 'PreparingRebalance', 'the end of a session');
    clearInterval(stop);
    expect(group.members.map(({ id }) => id)).toEqual([leader.memberId]);
    expect(group.heartbeat(follower.memberId, 2)).toBe('UNKNOWN_MEMBER_ID');
  });

  test('that leave give the others another round', async () => {
    const [leader, follower] = await twoMembers();
    expect(group.leave(leader.memberId, null)).toBe('NONE');
    expect(group.leave(leader.memberId, null)).toBe('UNKNOWN_MEMBER_ID');
    expect(group.heartbeat(follower.memberId, 2)).toBe('REBALANCE_IN_PROGRESS');
    const next = await join({ memberId: follower.memberId });
    expect(next).toMatchObject({ generation: 3, leader: follower.memberId });
    expect(group.leave(follower.memberId, null)).toBe('NONE');
    expect(group.state).toBe('Empty');
    expect(group.isAbandoned).toBe(true);
  });

  test('can leave by their instance id', async () => {
    const member = await join({ instanceId: 'static-1' });
    expect(member.members[0]?.instanceId).toBe('static-1');
    expect(group.leave('', 'static-1')).toBe('NONE');
    expect(group.members).toEqual([]);
  });

  test('whose connection ends while they wait do not hold up the others for ever', async () => {
    const first = await join();
    await sync(first, {});
    const connection = new AbortController();
    const gone = join({ sessionTimeoutMs: 100, signal: connection.signal });
    connection.abort();
    expect((await gone).error).toBe('UNKNOWN_MEMBER_ID');
    const next = await join({ memberId: first.memberId });
    expect(next).toMatchObject({ error: 'NONE', generation: 2 });
    expect(next.members).toHaveLength(1);
  });

  test('that sync on a connection that ends get their assignment on the next', async () => {
    const first = await join();
    const second = join();
    const [leader, follower] = await Promise.all([join({ memberId: first.memberId }), second]);
    const connection = new AbortController();
    const gone = sync(follower, {}, connection.signal);
    connection.abort();
    expect((await gone).error).toBe('UNKNOWN_MEMBER_ID');
    await sync(leader, { [follower.memberId]: 'right' });
    expect((await sync(follower)).assignment.toString()).toBe('right');
  });

  test('are at most a thousand', async () => {
    const joins = Array.from({ length: 1000 }, () => join({ takesMemberId: true }));
    const refused = await Promise.all(joins);
    expect(new Set(refused.map(({ memberId }) => memberId)).size).toBe(1000);
    expect((await join()).error).toBe('GROUP_MAX_SIZE_REACHED');
    const [first] = refused;
    const joining = join({ takesMemberId: true, memberId: first?.memberId ?? '' });
    group.end();
    expect((await joining).error).toBe('COORDINATOR_NOT_AVAILABLE');
  });
});

describe('commits', () => {
  test('come from members of this generation, or from outside of an empty group', async () => {
    expect(group.mayCommit('', -1)).toBe('NONE');
    const member = await join();
    expect(group.mayCommit(member.memberId, 1)).toBe('REBALANCE_IN_PROGRESS');
    await sync(member, {});
    expect(group.mayCommit(member.memberId, 1)).toBe('NONE');
    expect(group.mayCommit(member.memberId, 0)).toBe('ILLEGAL_GENERATION');
    expect(group.mayCommit('', -1)).toBe('UNKNOWN_MEMBER_ID');
  });
});

test('the end answers everybody who waits', async () => {
  const first = await join();
  const second = join();
  const [leader, follower] = await Promise.all([join({ memberId: first.memberId }), second]);
  const syncing = sync(follower);
  group.end();
  expect((await syncing).error).toBe('COORDINATOR_NOT_AVAILABLE');
  expect((await join()).error).toBe('COORDINATOR_NOT_AVAILABLE');
  expect(group.heartbeat(leader.memberId, 2)).toBe('COORDINATOR_NOT_AVAILABLE');
  expect((await sync(leader)).error).toBe('COORDINATOR_NOT_AVAILABLE');
  expect(group.leave(leader.memberId, null)).toBe('COORDINATOR_NOT_AVAILABLE');
  // What a member has done until now is not to be done again.
  expect(group.mayCommit(leader.memberId, 2)).toBe('NONE');
});
