/** What the js transport counts as it goes. */
export class Counters {
  connectionsAcceptedTotal = 0;
  connectionsClosedTotal = 0;
  acceptErrorsTotal = 0;
  connectionsEvictedTotal = 0;
  requestsThrottledTotal = 0;
  /** At this moment. */
  connectionsThrottled = 0;
  requestsTotal = 0;
  responsesTotal = 0;
  bytesReadTotal = 0;
  bytesWrittenTotal = 0;
  turns = 0;
  /** `'data'` events: Node makes one of each read. */
  readCalls = 0;
  /** Calls of a socket's `write`, gathered ones once. */
  writeCalls = 0;
}
