export { type CloseCode, type CloseReason, closeReasonNumbers } from './close-reason.js';
export type { Connection } from './connection.js';
export type { ConnectionLimitOptions, ListenerLimitOptions } from './connection-limits.js';
export { type ErrorCode, errorCodes, OdradekError } from './errors.js';
export {
  custom,
  delimited,
  type Framing,
  lengthPrefixed,
  raw,
  type Split,
  type SplitFrame,
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
  TransportMetrics,
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
export { closeConnection, noReply, type Reply, replyAndClose } from './reply.js';
export type { Request, SentOutcome } from './request.js';
export {
  type CloseOptions,
  type CloseSummary,
  type RemoveListenerOptions,
  type ServerEvents,
  SocketServer,
} from './socket-server.js';
export type { TimeoutOptions } from './timeouts.js';
export type { Address } from './transport.js';
