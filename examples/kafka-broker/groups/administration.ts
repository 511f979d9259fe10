import type { Answer, BrokerContext, Call } from '../api.js';
import { type ErrorName, errorCodes } from '../errors.js';

/** "Not computed": there is no authorization. */
const noOperations = -2_147_483_648;

/** ListGroups: those with members, and those of which only offsets are left. */
export function listGroups({ coordinator }: BrokerContext, call: Call): Answer {
  const { version, input, output } = call;
  const states = version >= 4 ? input.list(() => input.string()) : [];
  const types = version >= 5 ? input.list(() => input.string()) : [];
  const isWanted = (wanted: string[], value: string) =>
    wanted.length === 0 || wanted.some((one) => one.toLowerCase() === value.toLowerCase());
  const groups = coordinator
    .list()
    .filter(({ state }) => isWanted(states, state) && isWanted(types, 'classic'));
  if (version >= 1) output.int32(0); // throttle time
  output.int16(errorCodes.NONE).array(groups, ({ id, protocolType, state }) => {
    output.string(id).string(protocolType);
    if (version >= 4) output.string(state);
    if (version >= 5) output.string('classic');
  });
  return output.tags();
}

/** DescribeGroups: who is in them, and what each member was assigned. */
export function describeGroups({ coordinator }: BrokerContext, call: Call): Answer {
  const { version, input, output } = call;
  const ids = input.list(() => input.string());
  const stored = new Set(coordinator.list().map(({ id }) => id));
  if (version >= 1) output.int32(0); // throttle time
  output.array(ids, (id) => {
    const group = coordinator.get(id);
    output.int16(errorCodes.NONE).string(id);
    output.string(group?.state ?? (stored.has(id) ? 'Empty' : 'Dead'));
    output.string(group?.protocolType ?? (stored.has(id) ? 'consumer' : ''));
    output.string(group?.protocol ?? '');
    output.array(group?.members ?? [], (member) => {
      output.string(member.id);
      if (version >= 4) output.string(member.instanceId);
      output.string(member.clientId).string(member.clientHost);
      output.bytes(member.metadataFor(group?.protocol ?? null)).bytes(member.assignment);
    });
    if (version >= 3) output.int32(noOperations);
  });
  return output.tags();
}

/** DeleteGroups: forgets the offsets of groups that nobody is in. */
export async function deleteGroups({ coordinator }: BrokerContext, call: Call): Promise<Answer> {
  const { input, output } = call;
  const results: { id: string; error: ErrorName }[] = [];
  for (const id of input.list(() => input.string())) {
    results.push({ id, error: await coordinator.delete(id) });
  }
  output.int32(0); // throttle time
  output.array(results, ({ id, error }) => output.string(id).int16(errorCodes[error]));
  return output.tags();
}
