/**
 * The layout of the tables through which batches cross, as `native/addon/crossing.h` has it (a
 * test checks both equal). A table has `entriesPerTable` entries of `fieldsPerEntry` uint32 each.
 */
export const slabBytes = 65_536;
export const largeFrameBytes = 16_384;
export const entriesPerTable = 512;
export const fieldsPerEntry = 8;

/** A claimed request. Body offsets count from the start of its frame. */
export const requestFields = {
  /** And `lastFlag`: no further one of the connection comes before these are settled. */
  processor: 0,
  slot: 1,
  generation: 2,
  sequence: 3,
  /** In the slab, or `largeFlag` and the index among the large frames. */
  offset: 4,
  frameBytes: 5,
  bodyBegin: 6,
  bodyEnd: 7,
} as const;

export const largeFlag = 0x8000_0000;
export const lastFlag = 0x8000_0000;
/** Beside the processor stands how often the connection's framing had changed. */
export const processorMask = 0xff;
export const epochShift = 8;
export const epochMask = 0xffff;

/** What a claim says beside its requests; `timeoutMs` is what `rest()` says. */
export const statusFields = { slabUsed: 0, more: 1, events: 2, timeoutMs: 3 } as const;

/** A command: `kind | reason << 8 | flags << 16`, then who, then what. */
export const commandFields = {
  kind: 0,
  processor: 1,
  slot: 2,
  generation: 3,
  sequence: 4,
  settles: 5,
  /** In the reply slab; for large parts and `setFraming` the index among the large parts. */
  offset: 6,
  /** For `setFraming` the index among the framings, for `throttle` milliseconds. */
  length: 7,
} as const;

/**
 * Beside a command, as doubles: of how many answers it counts the times, when their requests were
 * received, and when they were given (below 0: not yet known).
 */
export const answerFields = { count: 0, received: 1, given: 2 } as const;
export const fieldsPerAnswer = 3;

/** The histograms of the processors, one behind the other. */
export const processorTimes = {
  throttle: 0,
  responseQueue: 1,
  responseSend: 2,
  total: 3,
} as const;

export const commandKinds = {
  reply: 0,
  replyLarge: 1,
  accept: 2,
  close: 3,
  hold: 4,
  setFraming: 5,
  throttle: 6,
} as const;

export const commandFlags = { discarded: 1, notify: 2, push: 4 } as const;

/** No large part belongs to the command. */
export const noPart = 0xffff_ffff;

export const eventKinds = {
  opened: 0,
  reset: 1,
  cut: 2,
  closed: 3,
  sent: 4,
  pushSent: 5,
  held: 6,
  throttleEnded: 7,
  acceptError: 8,
  fatal: 9,
  left: 10,
} as const;

export const framingKinds = {
  lengthPrefixed: 0,
  varintPrefixed: 1,
  delimited: 2,
  raw: 3,
} as const;
