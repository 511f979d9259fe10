import { protocolAPIsByName } from '@platformatic/kafka';
import type { Api, ApiHandler } from './api.js';
import { apiVersions } from './api-versions.js';
import { fetch } from './fetch.js';
import { deleteGroups, describeGroups, listGroups } from './groups/administration.js';
import { findCoordinator } from './groups/find-coordinator.js';
import { heartbeat, joinGroup, leaveGroup, syncGroup } from './groups/membership.js';
import { offsetCommit, offsetFetch } from './groups/offsets.js';
import { initProducerId } from './init-producer-id.js';
import { listOffsets } from './list-offsets.js';
import { metadata } from './metadata.js';
import { produce } from './produce.js';
import { createTopics, deleteTopics } from './topics.js';

/**
 * What the broker speaks: name, first and last version, first flexible version, handler.
 *
 * The lowest versions are those of Kafka 4 or below, since librdkafka takes them for features;
 * the highest are what the newest client that this is tested with uses, or a bit beyond.
 */
export const apis: readonly Api[] = [
  api('Produce', 3, 11, 9, produce),
  api('Fetch', 4, 17, 12, fetch),
  api('ListOffsets', 1, 9, 6, listOffsets),
  api('Metadata', 0, 12, 9, metadata),
  api('OffsetCommit', 2, 9, 8, offsetCommit),
  api('OffsetFetch', 1, 9, 6, offsetFetch),
  api('FindCoordinator', 0, 6, 3, findCoordinator),
  api('JoinGroup', 0, 9, 6, joinGroup),
  api('Heartbeat', 0, 4, 4, heartbeat),
  api('LeaveGroup', 0, 5, 4, leaveGroup),
  api('SyncGroup', 0, 5, 4, syncGroup),
  api('DescribeGroups', 0, 5, 5, describeGroups),
  api('ListGroups', 0, 5, 3, listGroups),
  api('ApiVersions', 0, 4, 3, (_, { version, output }) => apiVersions(apis, version, output)),
  api('CreateTopics', 0, 7, 5, createTopics),
  api('DeleteTopics', 0, 6, 4, deleteTopics),
  api('InitProducerId', 0, 5, 2, initProducerId),
  api('DeleteGroups', 0, 2, 2, deleteGroups),
];

function api(
  name: string,
  minVersion: number,
  maxVersion: number,
  flexibleFrom: number,
  handle: ApiHandler,
): Api {
  const key = protocolAPIsByName[name];
  if (key === undefined) throw new Error(`the protocol library knows no ${name}`);
  return { key, minVersion, maxVersion, flexibleFrom, handle };
}
