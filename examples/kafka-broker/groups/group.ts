import { randomUUID } from 'node:crypto';
import type { ErrorName } from '../errors.js';
import {
  type JoinRequest,
  type JoinResult,
  Member,
  type SyncRequest,
  type SyncResult,
} from './member.js';

export type GroupState = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable' | 'Dead';

/** Kafka's table: from each state, the states that may follow. */
const transitions: Record<GroupState, readonly GroupState[]> = {
  Empty: ['PreparingRebalance', 'Dead'],
  PreparingRebalance: ['CompletingRebalance', 'Empty', 'Dead'],
  CompletingRebalance: ['Stable', 'PreparingRebalance', 'Dead'],
  Stable: ['PreparingRebalance', 'Dead'],
  Dead: [],
};

const maxMembers = 1000;
/** So much of a client's id is in its member id, which has to fit a string. */
const maxClientIdPart = 100;

/**
 * A consumer group: who is in it, and the rounds in which its members agree on who reads what.
 *
 * A round begins when a member comes, goes or changes (PreparingRebalance). It waits until every
 * member has joined again, names one of them the leader and answers all joins
 * (CompletingRebalance), waits for the leader's assignment and answers all syncs (Stable). The
 * requests that wait are promises: the connection of each has nothing else under way meanwhile.
 */
export class Group {
  readonly id: string;
  generation = 0;
  protocolType: string | null = null;
  protocol: string | null = null;
  readonly #members = new Map<string, Member>();
  /** Member ids that were given out and not yet used, with what takes each back. */
  readonly #promisedIds = new Map<string, NodeJS.Timeout>();
  #state: GroupState = 'Empty';
  #leader = '';
  #rebalanceTimer: NodeJS.Timeout | null = null;

  constructor(id: string) {
    this.id = id;
  }

  get state(): GroupState {
    return this.#state;
  }

  get members(): Member[] {
    return [...this.#members.values()];
  }

  /** Nobody is in it, and nobody is expected. */
  get isAbandoned(): boolean {
    return this.#members.size === 0 && this.#promisedIds.size === 0;
  }

  /** Resolves when the round that this join begins or takes part in is complete. */
  join(request: JoinRequest, signal: AbortSignal): Promise<JoinResult> | JoinResult {
    const refuse = (error: ErrorName, memberId = request.memberId) => refusedJoin(error, memberId);
    if (this.#state === 'Dead') return refuse('COORDINATOR_NOT_AVAILABLE');
    if (!this.#accepts(request)) return refuse('INCONSISTENT_GROUP_PROTOCOL');
    const isExpected =
      this.#members.has(request.memberId) || this.#promisedIds.has(request.memberId);
    if (!isExpected && this.#members.size + this.#promisedIds.size >= maxMembers) {
      return refuse('GROUP_MAX_SIZE_REACHED');
    }
    if (request.memberId === '') {
      const memberId = `${request.clientId.slice(0, maxClientIdPart)}-${randomUUID()}`;
      if (!request.takesMemberId) return this.#joinNew(memberId, request, signal);
      this.#promiseId(memberId, request.sessionTimeoutMs);
      return refuse('MEMBER_ID_REQUIRED', memberId);
    }
    if (this.#takeBackId(request.memberId)) return this.#joinNew(request.memberId, request, signal);
    const member = this.#members.get(request.memberId);
    if (member === undefined) return refuse('UNKNOWN_MEMBER_ID');
    return this.#joinAgain(member, request, signal);
  }

  /** Resolves when the leader has given out the assignments. */
  sync(request: SyncRequest, signal: AbortSignal): Promise<SyncResult> | SyncResult {
    if (this.#state === 'Dead') return refusedSync('COORDINATOR_NOT_AVAILABLE');
    const member = this.#members.get(request.memberId);
    if (member === undefined) return refusedSync('UNKNOWN_MEMBER_ID');
    if (request.generation !== this.generation) return refusedSync('ILLEGAL_GENERATION');
    if (
      (request.protocolType ?? this.protocolType) !== this.protocolType ||
      (request.protocol ?? this.protocol) !== this.protocol
    ) {
      return refusedSync('INCONSISTENT_GROUP_PROTOCOL');
    }
    member.touch();
    if (this.#state === 'PreparingRebalance') return refusedSync('REBALANCE_IN_PROGRESS');
    if (this.#state === 'Stable') return this.#syncResult(member);
    answerSync(member, refusedSync('REBALANCE_IN_PROGRESS'));
    const answer = new Promise<SyncResult>((resolve) => {
      member.syncing = resolve;
      onAbort(signal, () => {
        if (member.syncing === resolve) answerSync(member, refusedSync('UNKNOWN_MEMBER_ID'));
      });
    });
    if (member.id === this.#leader) this.#assign(request.assignments);
    return answer;
  }

  heartbeat(memberId: string, generation: number): ErrorName {
    if (this.#state === 'Dead') return 'COORDINATOR_NOT_AVAILABLE';
    const member = this.#members.get(memberId);
    if (member === undefined) return 'UNKNOWN_MEMBER_ID';
    if (generation !== this.generation) return 'ILLEGAL_GENERATION';
    member.touch();
    return this.#state === 'PreparingRebalance' ? 'REBALANCE_IN_PROGRESS' : 'NONE';
  }

  leave(memberId: string, instanceId: string | null): ErrorName {
    if (this.#state === 'Dead') return 'COORDINATOR_NOT_AVAILABLE';
    if (this.#takeBackId(memberId)) {
      this.#completeIfAllJoined();
      return 'NONE';
    }
    const member =
      this.#members.get(memberId) ??
      this.members.find((one) => instanceId !== null && one.instanceId === instanceId);
    if (member === undefined) return 'UNKNOWN_MEMBER_ID';
    this.#remove(member);
    return 'NONE';
  }

  /** Whether this member, or with a negative generation somebody outside, may commit offsets. */
  mayCommit(memberId: string, generation: number): ErrorName {
    if (generation < 0 && this.#members.size === 0) return 'NONE';
    const member = this.#members.get(memberId);
    if (member === undefined) return 'UNKNOWN_MEMBER_ID';
    if (generation !== this.generation) return 'ILLEGAL_GENERATION';
    if (this.#state === 'CompletingRebalance') return 'REBALANCE_IN_PROGRESS';
    if (this.#state !== 'Dead') member.touch();
    return 'NONE';
  }

  /** Answers everybody who waits, and ends. Members may still commit what they have done. */
  end(): void {
    this.#become('Dead');
    this.#stopRebalanceTimer();
    for (const member of this.#members.values()) release(member, 'COORDINATOR_NOT_AVAILABLE');
    for (const id of [...this.#promisedIds.keys()]) this.#takeBackId(id);
  }

  /** The first member decides on the kind of protocol; the next must share one with all others. */
  #accepts({ memberId, protocolType, protocols }: JoinRequest): boolean {
    if (protocolType === '' || protocols.length === 0) return false;
    const others = this.members.filter(({ id }) => id !== memberId);
    if (others.length === 0) return true;
    const isShared = (name: string) =>
      others.every((other) => other.protocols.some((protocol) => protocol.name === name));
    return protocolType === this.protocolType && protocols.some(({ name }) => isShared(name));
  }

  #joinNew(id: string, request: JoinRequest, signal: AbortSignal): Promise<JoinResult> {
    const member: Member = new Member(id, request, () => this.#remove(member));
    this.#members.set(id, member);
    this.protocolType = request.protocolType;
    return this.#awaitRound(member, signal);
  }

  #joinAgain(
    member: Member,
    request: JoinRequest,
    signal: AbortSignal,
  ): Promise<JoinResult> | JoinResult {
    const same = member.offersSame(request.protocols);
    member.sessionTimeoutMs = request.sessionTimeoutMs;
    member.rebalanceTimeoutMs = request.rebalanceTimeoutMs;
    member.protocols = request.protocols;
    this.protocolType = request.protocolType;
    // A follower that only missed the answer gets it again; a leader that joins wants a new round.
    const missedIt =
      same &&
      (this.#state === 'CompletingRebalance' ||
        (this.#state === 'Stable' && member.id !== this.#leader));
    if (!missedIt) return this.#awaitRound(member, signal);
    member.touch();
    return this.#joinResult(member);
  }

  #awaitRound(member: Member, signal: AbortSignal): Promise<JoinResult> {
    answerJoin(member, refusedJoin('REBALANCE_IN_PROGRESS', member.id));
    const answer = new Promise<JoinResult>((resolve) => {
      member.joining = resolve;
      onAbort(signal, () => {
        if (member.joining === resolve) answerJoin(member, refusedJoin('UNKNOWN_MEMBER_ID', ''));
      });
    });
    member.touch();
    this.#rebalance();
    return answer;
  }

  /** Begins a round, or goes on with the one that has begun. */
  #rebalance(): void {
    if (this.#state !== 'PreparingRebalance') {
      for (const member of this.#members.values()) {
        answerSync(member, refusedSync('REBALANCE_IN_PROGRESS'));
      }
      this.#become('PreparingRebalance');
      const timeouts = this.members.map(({ rebalanceTimeoutMs }) => rebalanceTimeoutMs);
      this.#rebalanceTimer = setTimeout(() => this.#complete(), Math.max(0, ...timeouts));
    }
    this.#completeIfAllJoined();
  }

  #completeIfAllJoined(): void {
    if (this.#state !== 'PreparingRebalance' || this.#promisedIds.size > 0) return;
    if (this.members.every(({ joining }) => joining !== null)) this.#complete();
  }

  /** Ends the joining part of a round: whoever hasn't come is out of the group. */
  #complete(): void {
    this.#stopRebalanceTimer();
    for (const member of this.members) {
      if (member.joining !== null) continue;
      member.endSession();
      this.#members.delete(member.id);
    }
    this.generation++;
    const [first] = this.#members.keys();
    if (first === undefined) {
      this.#leader = '';
      this.protocol = null;
      this.#become('Empty');
      return;
    }
    if (!this.#members.has(this.#leader)) this.#leader = first;
    this.protocol = this.#choose();
    this.#become('CompletingRebalance');
    for (const member of this.#members.values()) {
      member.assignment = Buffer.alloc(0);
      member.touch();
      answerJoin(member, this.#joinResult(member));
    }
  }

  /** Of the protocols that all members know, the one that most of them like best. */
  #choose(): string | null {
    const members = this.members;
    const knownToAll = (name: string) =>
      members.every(({ protocols }) => protocols.some((protocol) => protocol.name === name));
    const votes = new Map<string, number>();
    for (const { protocols } of members) {
      const vote = protocols.find(({ name }) => knownToAll(name))?.name;
      if (vote !== undefined) votes.set(vote, (votes.get(vote) ?? 0) + 1);
    }
    const [best] = [...votes].sort(([, a], [, b]) => b - a);
    return best?.[0] ?? null;
  }

  #assign(assignments: ReadonlyMap<string, Buffer>): void {
    this.#become('Stable');
    for (const member of this.#members.values()) {
      member.assignment = assignments.get(member.id) ?? Buffer.alloc(0);
      if (member.syncing === null) continue;
      member.touch();
      answerSync(member, this.#syncResult(member));
    }
  }

  #remove(member: Member): void {
    this.#members.delete(member.id);
    release(member, 'UNKNOWN_MEMBER_ID');
    this.#rebalance();
  }

  #promiseId(memberId: string, timeoutMs: number): void {
    const timer = setTimeout(() => {
      this.#promisedIds.delete(memberId);
      this.#completeIfAllJoined();
    }, timeoutMs);
    this.#promisedIds.set(memberId, timer);
  }

  #takeBackId(memberId: string): boolean {
    clearTimeout(this.#promisedIds.get(memberId));
    return this.#promisedIds.delete(memberId);
  }

  #joinResult(member: Member): JoinResult {
    const isLeader = member.id === this.#leader;
    return {
      error: 'NONE',
      generation: this.generation,
      protocolType: this.protocolType,
      protocol: this.protocol,
      leader: this.#leader,
      memberId: member.id,
      members: isLeader
        ? this.members.map((one) => ({
            memberId: one.id,
            instanceId: one.instanceId,
            metadata: one.metadataFor(this.protocol),
          }))
        : [],
    };
  }

  #syncResult({ assignment }: Member): SyncResult {
    const { protocolType, protocol } = this;
    return { error: 'NONE', protocolType, protocol, assignment };
  }

  #become(state: GroupState): void {
    if (!transitions[this.#state].includes(state)) {
      throw new Error(`a group can't go from ${this.#state} to ${state}`);
    }
    this.#state = state;
  }

  #stopRebalanceTimer(): void {
    if (this.#rebalanceTimer !== null) clearTimeout(this.#rebalanceTimer);
    this.#rebalanceTimer = null;
  }
}

export function refusedJoin(error: ErrorName, memberId: string): JoinResult {
  const nothing = { protocolType: null, protocol: null, leader: '', members: [] };
  return { error, generation: -1, memberId, ...nothing };
}

export function refusedSync(error: ErrorName): SyncResult {
  return { error, protocolType: null, protocol: null, assignment: Buffer.alloc(0) };
}

function answerJoin(member: Member, result: JoinResult): void {
  const { joining } = member;
  member.joining = null;
  joining?.(result);
}

function answerSync(member: Member, result: SyncResult): void {
  const { syncing } = member;
  member.syncing = null;
  syncing?.(result);
}

/** Ends all that a member has under way. */
function release(member: Member, error: ErrorName): void {
  member.endSession();
  answerJoin(member, refusedJoin(error, member.id));
  answerSync(member, refusedSync(error));
}

/** A member whose connection is gone doesn't wait any more: its session decides from now on. */
function onAbort(signal: AbortSignal, stopWaiting: () => void): void {
  if (signal.aborted) stopWaiting();
  else signal.addEventListener('abort', stopWaiting, { once: true });
}
