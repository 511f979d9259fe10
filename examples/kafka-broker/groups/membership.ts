import type { Answer, BrokerContext, Call } from '../api.js';
import { type ErrorName, errorCodes, errorNameOf } from '../errors.js';
import { refusedJoin, refusedSync } from './group.js';
import type { JoinResult, SyncRequest, SyncResult } from './member.js';

/** A session shorter than this would end between two heartbeats of any client. */
const minSessionTimeoutMs = 100;
/** Kafka's default, `group.max.session.timeout.ms`. */
const maxSessionTimeoutMs = 1_800_000;

/** JoinGroup: answered when all members of the group have joined its next generation. */
export async function joinGroup(broker: BrokerContext, call: Call): Promise<Answer> {
  const { version, input, output } = call;
  const groupId = input.string();
  const sessionTimeoutMs = input.int32();
  const rebalanceTimeoutMs = version >= 1 ? input.int32() : sessionTimeoutMs;
  const memberId = input.string();
  const instanceId = version >= 5 ? input.nullableString() : null;
  const protocolType = input.string();
  const protocols = input.array(() => {
    const name = input.string();
    // A copy: it's kept as long as the member, and would keep the request's memory with it.
    return { name, metadata: Buffer.from(input.bytes()) };
  });
  const { clientId, clientHost } = call;
  const request = {
    ...{ memberId, instanceId, clientId, clientHost },
    ...{ sessionTimeoutMs, rebalanceTimeoutMs, protocolType, protocols },
    takesMemberId: version >= 4,
  };
  const isTimeoutValid =
    sessionTimeoutMs >= minSessionTimeoutMs && sessionTimeoutMs <= maxSessionTimeoutMs;
  const result = isTimeoutValid
    ? await inGroup(
        () => broker.coordinator.open(groupId).join(request, call.signal),
        (error) => refusedJoin(error, memberId),
      )
    : refusedJoin('INVALID_SESSION_TIMEOUT', memberId);
  writeJoinResult(call, result);
  return output.tags();
}

function writeJoinResult({ version, output }: Call, result: JoinResult): void {
  if (version >= 2) output.int32(0); // throttle time
  output.int16(errorCodes[result.error]).int32(result.generation);
  if (version >= 7) output.string(result.protocolType).string(result.protocol);
  else output.string(result.protocol ?? '');
  output.string(result.leader);
  if (version >= 9) output.boolean(false); // the leader isn't to skip the assignment
  output.string(result.memberId);
  output.array(result.members, ({ memberId, instanceId, metadata }) => {
    output.string(memberId);
    if (version >= 5) output.string(instanceId);
    output.bytes(metadata);
  });
}

/** SyncGroup: answered when the leader has sent the assignments of all. */
export async function syncGroup(broker: BrokerContext, call: Call): Promise<Answer> {
  const { version, input, output } = call;
  const groupId = input.string();
  const request: SyncRequest = {
    generation: input.int32(),
    memberId: input.string(),
    ...(version >= 3 && { instanceId: input.nullableString() }),
    protocolType: version >= 5 ? input.nullableString() : null,
    protocol: version >= 5 ? input.nullableString() : null,
    assignments: new Map(input.array(() => [input.string(), Buffer.from(input.bytes())] as const)),
  };
  const group = broker.coordinator.get(groupId);
  const result: SyncResult =
    group === undefined ? refusedSync('UNKNOWN_MEMBER_ID') : await group.sync(request, call.signal);
  if (version >= 1) output.int32(0); // throttle time
  output.int16(errorCodes[result.error]);
  if (version >= 5) output.string(result.protocolType).string(result.protocol);
  return output.bytes(result.assignment).tags();
}

/** Heartbeat: keeps a member in its group, and tells it when to join again. */
export function heartbeat(broker: BrokerContext, call: Call): Answer {
  const { version, input, output } = call;
  const group = broker.coordinator.get(input.string());
  const generation = input.int32();
  const memberId = input.string();
  const error = group?.heartbeat(memberId, generation) ?? 'UNKNOWN_MEMBER_ID';
  if (version >= 1) output.int32(0); // throttle time
  return output.int16(errorCodes[error]).tags();
}

/** LeaveGroup: one member, or from version 3 on several. */
export function leaveGroup(broker: BrokerContext, call: Call): Answer {
  const { version, input, output } = call;
  const group = broker.coordinator.get(input.string());
  const leaving =
    version >= 3
      ? input.array(() => {
          const memberId = input.string();
          const instanceId = input.nullableString();
          if (version >= 5) input.nullableString(); // the reason
          return { memberId, instanceId };
        })
      : [{ memberId: input.string(), instanceId: null }];
  const results = leaving.map(({ memberId, instanceId }) => {
    const error = group?.leave(memberId, instanceId) ?? 'UNKNOWN_MEMBER_ID';
    return { memberId, instanceId, error };
  });
  if (version >= 1) output.int32(0); // throttle time
  if (version < 3) return output.int16(errorCodes[results[0]?.error ?? 'NONE']);
  output.int16(errorCodes.NONE).array(results, ({ memberId, instanceId, error }) => {
    output.string(memberId).string(instanceId).int16(errorCodes[error]);
  });
  return output.tags();
}

/** What a group answers, or what `refused` makes of its refusal to be opened. */
async function inGroup<T>(
  work: () => Promise<T> | T,
  refused: (error: ErrorName) => T,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    return refused(errorNameOf(error));
  }
}
