/**
 * Every limit of the js transport that is not an option, with its reason.
 */

/**
 * Frames of one connection that are delivered together, or `maxInFlightPerConnection` if that is
 * more. The later ones wait for the replies to these, so it bounds what one connection can hold of the request queue and of unsent replies;
 * above 64 a write's fixed cost has become small against the frames' own.
 */
export const maxFramesPerBatch = 64;

/** Requests delivered before timers and other I/O of the process get their turn. */
export const maxRequestsPerTurn = 1024;

/** Bytes of bodies delivered before timers and other I/O of the process get their turn. */
export const maxBytesPerTurn = 1_048_576;

/**
 * Makes a paused socket stop after one read: with more, Node would read on into its own buffer
 * until that mark. A read of Node's is at most 64 KiB.
 */
export const socketHighWaterMark = 1;

/** Small replies are copied into memory that they share: about 500 replies of 128 bytes. */
export const replySlabBytes = 65_536;

/** From here on a reply gets memory of its own, so that a slab's end wastes little. */
export const ownReplyBytes = 16_384;

/** Connections that are read again in one turn when memory is free: in the order of their waiting. */
export const resumesPerTurn = 64;

/** A part of a frame that may overdraw the memory pool and does not grow for so long lets another. */
export const memoryStallMs = 100;

/** Sockets that a listener holds back, of addresses that send too many; one more is closed at once. */
export const maxParked = 1024;

/** How long a closed connection's input is read and dropped, waiting for the client's FIN. */
export const lingerMs = 1000;

/** How many bytes of a closed connection's input are read and dropped. */
export const lingerBytes = 1_048_576;

/** A connection's index wraps behind this, as Kafka's (a non-negative 32-bit integer). */
export const maxConnectionIndex = 2_147_483_647;
