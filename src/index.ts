/**
 * What users import. Begin with {@link SocketServer}.
 *
 * @module odradek
 */

export { type CloseCode, type CloseReason, closeReasonNumbers } from './close-reason.js';
export type { Connection } from './connection.js';
export type { ConnectionLimitOptions, ListenerLimitOptions } from './connection-limits.js';
export { type ErrorCode, errorCodes, OdradekError } from './errors.js';
export {
  type CustomFraming,
  custom,
  type DelimitedFraming,
  delimited,
  type Framing,
  type LengthPrefixedFraming,
  lengthPrefixed,
  type RawFraming,
  raw,
  type Split,
  type SplitFrame,
  type VarintPrefixedFraming,
  varintPrefixed,
} from './framing.js';
export type { HandlerContext, HandlerModule } from './handler-pool/handler-module.js';
export type { HandlerPoolOptions } from './handler-pool/handler-pool-options.js';
export type { HandlerThreadLoss } from './handler-pool/thread-protocol.js';
export type { LimitChanges, LimitOptions } from './limits.js';
export type {
  HandlerThreadMetrics,
  ListenerMetrics,
  Metrics,
  ProcessorMetrics,
} from './metrics.js';
export { isNativeAvailable, nativeUnavailabilityCause } from './native-availability.js';
export type {
  ConnectDecision,
  Handler,
  ListenerOptions,
  SocketServerOptions,
} from './options.js';
export type { OverloadOptions } from './overload-limits.js';
export type { OverloadChange, OverloadStep } from './overload-steps.js';
export {
  type CloseConnection,
  closeConnection,
  type NoReply,
  noReply,
  type Reply,
  type ReplyAndClose,
  replyAndClose,
} from './reply.js';
export type { Request, SentOutcome } from './request.js';
export type { RequestTimes, TimeBucket, TimeSummary } from './request-times.js';
export {
  type CloseOptions,
  type CloseSummary,
  type RemoveListenerOptions,
  type ServerEvents,
  SocketServer,
} from './socket-server.js';
export type { TimeoutOptions } from './timeouts.js';
export type { Address } from './transport.js';
