import { type ErrorName, KafkaError } from '../errors.js';
import { Group } from './group.js';
import type { CommittedOffset, OffsetStore } from './offset-store.js';

/** Kafka's default, `offset.metadata.max.bytes`. */
const maxMetadataBytes = 4096;

/** A group as tools list it. */
export interface GroupSummary {
  readonly id: string;
  readonly state: string;
  readonly protocolType: string;
}

/** All groups: those with members, and those of which only committed offsets are left. */
export class Coordinator {
  readonly offsets: OffsetStore;
  readonly #groups = new Map<string, Group>();
  #closed = false;

  constructor(offsets: OffsetStore) {
    this.offsets = offsets;
  }

  get(id: string): Group | undefined {
    return this.#groups.get(id);
  }

  /** The group to join, made if it's new. */
  open(id: string): Group {
    if (this.#closed) throw new KafkaError('COORDINATOR_NOT_AVAILABLE');
    if (id === '') throw new KafkaError('INVALID_GROUP_ID');
    this.#forgetAbandoned();
    const group = this.#groups.get(id) ?? new Group(id);
    this.#groups.set(id, group);
    return group;
  }

  list(): GroupSummary[] {
    const live = [...this.#groups.values()].map(({ id, state, protocolType }) => {
      return { id, state, protocolType: protocolType ?? '' };
    });
    const stored = this.offsets.groups().filter((id) => !this.#groups.has(id));
    // Only consumers commit offsets, so that is what the members were.
    return [...live, ...stored.map((id) => ({ id, state: 'Empty', protocolType: 'consumer' }))];
  }

  /** @returns whether the offsets are written; what is wrong with them otherwise */
  async commit(
    groupId: string,
    memberId: string,
    generation: number,
    offsets: readonly CommittedOffset[],
  ): Promise<ErrorName> {
    const group = this.#groups.get(groupId);
    // Without a group a commit can come only from somebody who assigns partitions by himself.
    const stranger: ErrorName = generation < 0 ? 'NONE' : 'ILLEGAL_GENERATION';
    const refused = group?.mayCommit(memberId, generation) ?? stranger;
    if (refused !== 'NONE') return refused;
    try {
      await this.offsets.commit(groupId, offsets);
      return 'NONE';
    } catch (error) {
      if (error instanceof KafkaError) return error.code;
      throw error;
    }
  }

  /** Whether a commit's note for its partition is short enough. */
  acceptsMetadata(metadata: string): boolean {
    return Buffer.byteLength(metadata) <= maxMetadataBytes;
  }

  async delete(id: string): Promise<ErrorName> {
    if (this.#closed) return 'COORDINATOR_NOT_AVAILABLE';
    const group = this.#groups.get(id);
    if (group !== undefined && !group.isAbandoned) return 'NON_EMPTY_GROUP';
    if (group === undefined && this.offsets.ofGroup(id).length === 0) return 'GROUP_ID_NOT_FOUND';
    group?.end();
    this.#groups.delete(id);
    await this.offsets.deleteGroup(id);
    return 'NONE';
  }

  /** Answers every request that waits in a group; the groups begin no more rounds. */
  end(): void {
    this.#closed = true;
    for (const group of this.#groups.values()) group.end();
  }

  /** Groups that nobody is in any more would otherwise gather for ever. */
  #forgetAbandoned(): void {
    for (const [id, group] of this.#groups) {
      if (!group.isAbandoned || group.state !== 'Empty') continue;
      group.end();
      this.#groups.delete(id);
    }
  }
}
