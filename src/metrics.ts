import type { OverloadStep } from './overload-steps.js';
import type { RequestTimes } from './request-times.js';

/** A plain snapshot of a server's counters. Totals count from `start()`. */
export interface Metrics extends Omit<TransportMetrics, 'listeners'> {
  /** The transport in use. */
  readonly transport: 'native' | 'js';
  /** By listener, in their order. */
  readonly listeners: readonly ListenerMetrics[];
  /** Kafka's broker-connection-accept-rate: connections a second, over the time that idle percentages are of. */
  readonly connectionAcceptRate: number;
  /**
   * Kafka's MemoryPoolAvgDepletedPercent: from 0 to 1, how much of that time nothing was left of
   * `queuedMaxRequestBytes`.
   */
  readonly memoryPoolAvgDepletedPercent: number;
  /** Kafka's RequestMetrics: where requests spend their time. */
  readonly requestTimes: RequestTimes;
  /** Requests in handlers' hands. */
  readonly requestsInFlight: number;
  /**
   * Requests that failed: the handler threw, rejected, returned what is no reply, took longer than
   * `handlerTimeoutMs`, or was lost with its thread.
   */
  readonly handlerErrorsTotal: number;
  /** Connections closed with `IDLE_TIMEOUT`. */
  readonly idleTimeoutsTotal: number;
  /** Connections closed with `FRAME_TIMEOUT`. */
  readonly frameTimeoutsTotal: number;
  /** Connections closed with `WRITE_TIMEOUT`. */
  readonly writeTimeoutsTotal: number;
  /** Connections closed with `READ_TOO_SLOW`. */
  readonly readsTooSlowTotal: number;
  /** Connections closed with `WRITE_TOO_SLOW`. */
  readonly writesTooSlowTotal: number;
  /** The last of the steps under overload that are in force. */
  readonly overloadStep: OverloadStep;
  /** How often each of them was entered. */
  readonly overloadStepsTotal: Readonly<Record<Exclude<OverloadStep, 'none'>, number>>;
  /** Requests that were refused under overload, whatever `onOverload` answered. */
  readonly requestsRefusedTotal: number;
  /** One entry per thread of a `handlerPool`; without one empty. */
  readonly handlerThreads: readonly HandlerThreadMetrics[];
  readonly processors: readonly ProcessorMetrics[];
  /**
   * Kafka's NetworkProcessorAvgIdlePercent: from 0 to 1, how much of the time processors had nothing
   * to do, on average. All idle percentages are of the time since the last snapshot that is at least
   * a second old, or since `start()`.
   */
  readonly networkProcessorAvgIdlePercent: number;
  /**
   * Kafka's RequestHandlerAvgIdlePercent: from 0 to 1, how much of the time the event loops of the
   * handlers' threads had nothing to do, on average. Without a `handlerPool` that is the event loop
   * of this thread.
   */
  readonly requestHandlerAvgIdlePercent: number;
}

/** What one thread of the handler pool did, its predecessors included. */
export interface HandlerThreadMetrics extends HandlerThreadCounts {
  /** From 0 to 1: see {@link Metrics.requestHandlerAvgIdlePercent}. */
  readonly idlePercent: number;
}

export interface HandlerThreadCounts {
  /** The thread's number. */
  readonly thread: number;
  /** Requests that it has begun and not answered. */
  readonly inFlight: number;
  /** Requests that it has begun. */
  readonly startedTotal: number;
  /** Times it was replaced. */
  readonly restarts: number;
  /** For how long the event loop of the present thread had nothing to do. */
  readonly idleMs: number;
}

/** What one listener did. */
export interface ListenerMetrics extends Omit<ListenerCounts, 'blockedMs'> {
  /**
   * Kafka's AcceptorBlockedPercent: from 0 to 1, how much of the time a connection waited for a place,
   * or for a rate.
   */
  readonly acceptorBlockedPercent: number;
  /** Kafka's connection-accept-rate: connections a second, over the same time. */
  readonly connectionAcceptRate: number;
  /** Kafka's connection-accept-throttle-time: the average of {@link connectionAcceptThrottleMs}. */
  readonly connectionAcceptThrottleAvgMs: number;
  /** Kafka's ip-connection-accept-throttle-time: the average of {@link ipConnectionAcceptThrottleMs}. */
  readonly ipConnectionAcceptThrottleAvgMs: number;
}

export interface ListenerCounts {
  /** The listener's name. */
  readonly name: string;
  /** Those that count against `maxConnections`. */
  readonly connections: number;
  /** Connections that it has accepted, without those refused or held back. */
  readonly connectionsAcceptedTotal: number;
  /** Closed at once: `maxConnectionsPerIp`, or there was no room to hold them back. */
  readonly connectionsRefusedTotal: number;
  /** Held back and then closed: `maxConnectionCreationRatePerIp`. */
  readonly connectionsThrottledTotal: number;
  /** Held back now. */
  readonly throttledSockets: number;
  /** For how long a connection waited for its place or for a rate, in all. */
  readonly blockedMs: number;
  /** Times a connection waited for a rate: `maxConnectionCreationRate`, in all or of the listener. */
  readonly connectionAcceptThrottleTimesTotal: number;
  /** For how long, in all. */
  readonly connectionAcceptThrottleMs: number;
  /** How long sockets that were held back (`connectionsThrottledTotal`) were to wait, in all. */
  readonly ipConnectionAcceptThrottleMs: number;
}

/** What a transport counts of itself. */
export interface TransportMetrics {
  /** Connections whose opening was reported and whose end was not. */
  readonly connections: number;
  /** Connections that were accepted, and not refused or held back. */
  readonly connectionsAcceptedTotal: number;
  /** Connections whose end was reported. */
  readonly connectionsClosedTotal: number;
  /** Sockets that could not be accepted: descriptors or memory ran out. */
  readonly acceptErrorsTotal: number;
  /** Connections closed with `TOO_MANY_CONNECTIONS`. */
  readonly connectionsEvictedTotal: number;
  /** Frames completed. */
  readonly requestsTotal: number;
  /** Replies handed to the kernel in full (`noReply` included). */
  readonly responsesTotal: number;
  /** Bytes read from clients. */
  readonly bytesReadTotal: number;
  /** Bytes handed to the kernel. */
  readonly bytesWrittenTotal: number;
  /** Kafka's RequestQueueSize: received and not yet taken by the handler pool. */
  readonly requestQueueSize: number;
  /**
   * In handlers' hands, or with a reply that waits for an earlier one's; bounded by
   * `maxPendingRequests`.
   */
  readonly pendingRequests: number;
  /** Connections that wait for room in the request queue. */
  readonly connectionsWaitingForRoom: number;
  /** Connections that are not read until memory is free: `queuedMaxRequestBytes`. */
  readonly connectionsWaitingForMemory: number;
  /** Kafka's MemoryPoolAvailable: bytes left of `queuedMaxRequestBytes`; below 0 by at most a frame. */
  readonly memoryPoolAvailable: number;
  /** Kafka's MemoryPoolUsed: bytes of requests in the server's hands. */
  readonly memoryPoolUsed: number;
  /** Kafka's MemoryPoolDepletedTimeTotal: for how long nothing was left, in milliseconds. */
  readonly memoryPoolDepletedMs: number;
  /**
   * For how long the longest waiting has waited now, in milliseconds: a request in the queue, or a
   * connection for room there or for memory. What decides about overload.
   */
  readonly longestWaitMs: number;
  /** Bytes given to connections that their clients have not taken: `maxUnsentBytes`. */
  readonly unsentBytes: number;
  /** Connections that were closed since there were more. */
  readonly connectionsShedTotal: number;
  /** Calls of `request.throttle()` that have reached an open connection. */
  readonly requestsThrottledTotal: number;
  /** Kafka's queue-size of throttled channels: connections that are not read for that now. */
  readonly connectionsThrottled: number;
  readonly listeners: readonly ListenerCounts[];
  /** One entry per processor; the js transport has one, the event loop. */
  readonly processors: readonly ProcessorCounts[];
}

/** What one processor did, and how busy it is. */
export interface ProcessorMetrics extends ProcessorCounts {
  /** From 0 to 1: see {@link Metrics.networkProcessorAvgIdlePercent}. */
  readonly idlePercent: number;
}

/** What one processor did; the native transport counts every system call it makes. */
export interface ProcessorCounts {
  /** From 0; one that comes back after `resizeNetworkThreads()` counts on. */
  readonly id: number;
  /** Open connections that it serves. */
  readonly connections: number;
  /** Turns of the loop. */
  readonly turns: number;
  /** System calls that read from sockets. */
  readonly readCalls: number;
  /** System calls that wrote to sockets. */
  readonly writeCalls: number;
  /** System calls that waited for events, or asked for them. */
  readonly pollCalls: number;
  /** Times the processor was woken out of its poll by another thread (one system call each). */
  readonly wakeCalls: number;
  /** For how long it had nothing to do, in all. Of the js transport: the event loop. */
  readonly idleMs: number;
}
