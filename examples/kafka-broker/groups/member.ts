import type { ErrorName } from '../errors.js';

export interface Protocol {
  readonly name: string;
  readonly metadata: Buffer;
}

export interface JoinRequest {
  /** Empty for a consumer that is new to the group. */
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly protocolType: string;
  readonly protocols: readonly Protocol[];
  /** The client can be told its member id before it joins (version 4 and later). */
  readonly takesMemberId: boolean;
}

export interface JoinedMember {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly metadata: Buffer;
}

export interface JoinResult {
  readonly error: ErrorName;
  readonly generation: number;
  readonly protocolType: string | null;
  readonly protocol: string | null;
  readonly leader: string;
  readonly memberId: string;
  /** Everybody for the leader, who makes the assignment; empty for the others. */
  readonly members: readonly JoinedMember[];
}

export interface SyncRequest {
  readonly memberId: string;
  readonly generation: number;
  /** Null where the version doesn't say. */
  readonly protocolType: string | null;
  readonly protocol: string | null;
  readonly assignments: ReadonlyMap<string, Buffer>;
}

export interface SyncResult {
  readonly error: ErrorName;
  readonly protocolType: string | null;
  readonly protocol: string | null;
  readonly assignment: Buffer;
}

/** A consumer in a group, and its requests that wait for the others. */
export class Member {
  readonly id: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  protocols: readonly Protocol[];
  assignment: Buffer = Buffer.alloc(0);
  /** Answers the member's join that waits for the rebalance to complete. */
  joining: ((result: JoinResult) => void) | null = null;
  /** Answers the member's sync that waits for the leader's assignment. */
  syncing: ((result: SyncResult) => void) | null = null;
  readonly #expire: () => void;
  #session: NodeJS.Timeout | null = null;

  constructor(id: string, request: JoinRequest, expire: () => void) {
    this.id = id;
    this.instanceId = request.instanceId;
    this.clientId = request.clientId;
    this.clientHost = request.clientHost;
    this.sessionTimeoutMs = request.sessionTimeoutMs;
    this.rebalanceTimeoutMs = request.rebalanceTimeoutMs;
    this.protocols = request.protocols;
    this.#expire = expire;
  }

  /** The member has been heard of: its session begins anew. */
  touch(): void {
    this.endSession();
    this.#session = setTimeout(() => {
      // One that waits for the others is not silent.
      if (this.joining === null && this.syncing === null) this.#expire();
      else this.touch();
    }, this.sessionTimeoutMs);
  }

  endSession(): void {
    if (this.#session !== null) clearTimeout(this.#session);
    this.#session = null;
  }

  metadataFor(protocol: string | null): Buffer {
    return this.protocols.find(({ name }) => name === protocol)?.metadata ?? Buffer.alloc(0);
  }

  offersSame(protocols: readonly Protocol[]): boolean {
    return (
      protocols.length === this.protocols.length &&
      protocols.every(({ name, metadata }, i) => {
        const mine = this.protocols[i];
        return mine?.name === name && mine.metadata.equals(metadata);
      })
    );
  }
}
