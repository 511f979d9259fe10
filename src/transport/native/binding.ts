import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ConnectionLimits } from '../../connection-limits.js';
import type { Limits } from '../../limits.js';
import type { Timeouts } from '../../timeouts.js';

/** A framing as the core reads it; see `native/core/framing.h`. */
export interface NativeFraming {
  kind: number;
  maxFrameBytes: number;
  sizeBytes: number;
  bigEndian: boolean;
  offset: number;
  adjustment: number;
  strip: number;
  delimiter: Uint8Array;
  stripDelimiter: boolean;
}

/** The tables through which batches cross; see `crossing.ts`. */
export interface NativeTables {
  requests: Uint32Array;
  times: Float64Array;
  status: Uint32Array;
  commands: Uint32Array;
  /** Beside {@link commands}. */
  answers: Float64Array;
  replies: Uint8Array;
  /** In a thread of a handler pool: by entry, the requests' places in {@link marks}. */
  tickets?: Uint32Array;
  /** There: not 0 where the request was started. */
  marks?: Uint8Array;
}

export interface NativeListenerConfig {
  host: string;
  port: number;
  backlog: number;
  framing: NativeFraming;
}

export interface NativeServerConfig {
  listeners: NativeListenerConfig[];
  networkThreads: number;
  busyPollUs: number;
  queuedMaxRequests: number;
  maxPendingRequests: number;
  maxInFlightPerConnection: number;
  waitsForAccept: boolean;
  timeouts: Timeouts;
  connections: ConnectionLimits;
  hasHandlerPool: boolean;
  hasAffinity: boolean;
  /** `performance.now()`. */
  now: () => number;
  tables: NativeTables;
}

/** Something that happened beside requests; see `Event` in `native/core/request.h`. */
export interface NativeEvent {
  kind: number;
  processor: number;
  slot: number;
  generation: number;
  reason: number;
  errno: number;
  listener: number;
  count: number;
  /** Where the framing was broken: the length that did it. */
  declared: number;
  ok: boolean;
  /** The rest stands in `opened` alone. */
  index: number;
  localAddress: string;
  localPort: number;
  remoteAddress: string;
  remotePort: number;
}

export interface NativeStartError {
  isThread: boolean;
  call: string;
  listener: number;
  errno: number;
}

export interface NativeProcessorCounters {
  /** It has no thread: others have what was its. */
  hasLeft: boolean;
  connections: number;
  opened: number;
  closed: number;
  turns: number;
  polls: number;
  reads: number;
  writes: number;
  wakes: number;
  requests: number;
  responses: number;
  bytesRead: number;
  bytesWritten: number;
  waitingForRoom: number;
  waitingForMemory: number;
  strayReplies: number;
  evicted: number;
  shed: number;
  throttles: number;
  throttled: number;
  idleUs: number;
}

export interface NativeListenerCounters {
  connections: number;
  accepted: number;
  errors: number;
  /** The rest is missing where it was removed. */
  refused?: number;
  throttled?: number;
  parked?: number;
  parkedUs?: number;
  blockedUs?: number;
  rateWaits?: number;
  rateWaitUs?: number;
}

export interface NativeCounters {
  queued: number;
  pending: number;
  memoryUsed: number;
  memoryDepletedUs: number;
  unsent: number;
  /** By number, with holes. */
  listeners: NativeListenerCounters[];
  processors: NativeProcessorCounters[];
}

/** The addon's class; see `native/addon/native_server.h`. */
export interface NativeServer {
  start(onDoorbell: () => void): NativeStartError | undefined;
  claim(slab: Uint8Array, used: number, larges: ArrayBuffer[]): number;
  takeEvents(): NativeEvent[];
  rest(): boolean;
  submit(
    count: number,
    slabBytes: number,
    larges: readonly Uint8Array[],
    framings: readonly NativeFraming[],
    released: number,
  ): void;
  /** Empties the memory of a large frame, which the core may use anew. */
  takeBack(memory: ArrayBuffer): void;
  /** The number by which a thread finds this place of the pool. */
  openHandler(place: number, capacity: number): number;
  closeHandler(place: number): NativeRemains;
  /** Zeros where there is no thread. */
  handlerCounters(place: number): { inWork: number; claimed: number };
  retireHandler(place: number): void;
  /** Of {@link NativeRemains.waiting}: back to the queue if `wanted`, or nowhere. */
  endWaiting(processor: number, slot: number, generation: number, wanted: boolean): void;
  /** Makes it serve with more or fewer threads; those that leave say so, see {@link isResizing}. */
  resize(networkThreads: number): NativeStartError | undefined;
  /** Whether threads are still to leave. */
  isResizing(): boolean;
  updateLimits(limits: Limits): void;
  closeIdle(): void;
  /** It accepts from {@link serveListener} on. No other listener has had its number. */
  openListener(number: number, listener: NativeListenerConfig): NativeStartError | undefined;
  serveListener(number: number): NativeStartError | undefined;
  bound(number: number): { host: string; port: number };
  drainListener(number: number): void;
  cutListener(number: number): void;
  /** `answered`: replies since {@link drainListener}. */
  ofListener(number: number): { connections: number; answered: number };
  drain(): void;
  stop(reason: number): void;
  /** 0: nobody waits. */
  longestWaitMs(): number;
  counters(): NativeCounters;
  /** Adds the processors' histograms; see `processorTimes`. */
  times(into: Float64Array): void;
  ref(): void;
  unref(): void;
}

/** A request that a lost thread had claimed. */
export interface NativeLostRequest {
  processor: number;
  slot: number;
  generation: number;
  sequence: number;
  frame: Buffer;
  bodyBegin: number;
  bodyEnd: number;
  receivedAt: number;
}

/** What a thread of the pool leaves behind. */
export interface NativeRemains {
  /** Connection by connection, in order. */
  started: NativeLostRequest[];
  /** Behind started ones of their connection, until these are answered. */
  waiting: NativeLostRequest[];
  /** Requests that went back to the head of the queue. */
  putBack: number;
}

/** What a thread of the pool learns of a connection that it meets. */
export interface NativeConnectionInfo {
  listener: number;
  index: number;
  localAddress: string;
  localPort: number;
  remoteAddress: string;
  remotePort: number;
  /** Unless it is still the listener's. */
  framing?: NativeFraming;
  /** The reason's number, where it is being closed: what was not begun needs no handler. */
  cut?: number;
}

/** The addon's class for a thread of the handler pool; see `native/addon/native_handler.h`. */
export interface NativeHandler {
  /** False where the server needs it no more. */
  start(onDoorbell: () => void): boolean;
  claim(slab: Uint8Array, used: number, larges: ArrayBuffer[], wanted: boolean): number;
  takeEvents(): NativeEvent[];
  rest(wanted: boolean): boolean;
  submit(
    count: number,
    slabBytes: number,
    larges: readonly Uint8Array[],
    framings: readonly NativeFraming[],
  ): void;
  /** As {@link NativeServer.takeBack}. */
  takeBack(memory: ArrayBuffer): void;
  describe(processor: number, slot: number, generation: number): NativeConnectionInfo | undefined;
  /** The connection has ended; what was claimed of it counts no more. */
  forget(processor: number, slot: number, generation: number): void;
  leave(): void;
}

export interface Binding {
  NativeHandler: new (config: {
    number: number;
    now: () => number;
    tables: NativeTables;
  }) => NativeHandler;
  NativeServer: new (config: NativeServerConfig) => NativeServer;
  constants: Record<string, number>;
}

const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

let outcome: { binding: Binding } | { cause: Error } | undefined;

function load(): { binding: Binding } | { cause: Error } {
  outcome ??= tryLoad();
  return outcome;
}

function tryLoad(): { binding: Binding } | { cause: Error } {
  try {
    const require = createRequire(import.meta.url);
    const nodeGypBuild = require('node-gyp-build') as (folder: string) => Binding;
    return { binding: nodeGypBuild(packageRoot) };
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    const cause = new Error(
      `the addon could not be loaded for ${process.platform}-${process.arch}: ${detail}. ` +
        `Either no binary was built for this platform (run 'npm run build' in a checkout), or it ` +
        `needs a newer C library than this system has.`,
      { cause: error },
    );
    return { cause };
  }
}

/** The addon, or `null` where it can't be loaded. */
export function loadBinding(): Binding | null {
  const loaded = load();
  return 'binding' in loaded ? loaded.binding : null;
}

/** Whether the native transport can be used in this process. */
export function isNativeAvailable(): boolean {
  return loadBinding() !== null;
}

/** Why the native transport can't be used, or `null` if it can. */
export function nativeUnavailabilityCause(): Error | null {
  const loaded = load();
  return 'cause' in loaded ? loaded.cause : null;
}
