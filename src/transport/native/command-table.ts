import { performance } from 'node:perf_hooks';
import { type CloseCode, closeReasonNumbers } from '../../close-reason.js';
import { lengthOf } from '../../reply.js';
import type { ReplyFramer } from '../../reply-framer.js';
import type { NativeFraming, NativeServer, NativeTables } from './binding.js';
import {
  answerFields,
  commandFields,
  commandFlags,
  commandKinds,
  entriesPerTable,
  fieldsPerAnswer,
  fieldsPerEntry,
  largeFrameBytes,
  noPart,
  slabBytes,
} from './crossing.js';

const { reply, replyLarge, accept, close, hold, setFraming, throttle } = commandKinds;
const field = commandFields;
const { count: answerCount, received: answerReceived, given: answerGiven } = answerFields;

/** When an answer was given is said later. */
const notYet = -1;

/** A connection, as the core knows it. */
export interface Target {
  readonly processor: number;
  readonly slot: number;
  readonly generation: number;
}

/** When a request was received, and when its answer was there, if that wasn't just now. */
export interface Answered {
  readonly receivedAt: number;
  readonly readyAt: number | null;
}

/**
 * Collects the commands of a turn and hands them to the core in one call. Small replies are
 * copied into a slab; those of one connection that follow each other become one entry, and so one
 * write. Large parts cross by reference and are copied by the core inside the call, unless they
 * were received in its own memory.
 */
export class CommandTable {
  readonly #native: Pick<NativeServer, 'submit'>;
  readonly #keepsRepliesWhole: boolean;
  readonly #table: Uint32Array;
  readonly #answers: Float64Array;
  readonly #slab: Uint8Array;
  #count = 0;
  #slabUsed = 0;
  #larges: Uint8Array[] = [];
  #framings: NativeFraming[] = [];
  /**
   * Places that requests give back in `maxPendingRequests`. A claim takes one for each request of
   * the core; it is given back on arrival, and taken anew when a handler starts.
   */
  released = 0;
  /** What entries begin with, beside their kind. */
  #flags = 0;
  /** The connection of the last entry, while that may be added to: {@link #end} writes these down. */
  #open: Target | null = null;
  #takesBytes = false;
  #length = 0;
  #settles = 0;
  /** The first that it settles, and the one that follows. */
  #sequence = 0;
  #next = 0;
  #answered = 0;

  /** Entries before this one, and those without answers, have all their times. */
  #unstamped = 0;
  #hasUnstamped = false;

  /** @param keepsRepliesWhole all parts of a reply go to the core in one call */
  constructor(
    native: Pick<NativeServer, 'submit'>,
    { commands, answers, replies }: Pick<NativeTables, 'commands' | 'answers' | 'replies'>,
    { keepsRepliesWhole = false } = {},
  ) {
    this.#native = native;
    this.#keepsRepliesWhole = keepsRepliesWhole;
    this.#table = commands;
    this.#answers = answers;
    this.#slab = replies;
  }

  /** What comes has times of its own, and shares no entry with answers before. */
  separate(): void {
    this.#end();
  }

  /** All answers so far were given by now. */
  givenAt(now: number): void {
    if (!this.#hasUnstamped) return;
    this.#end();
    const answers = this.#answers;
    for (let entry = this.#unstamped; entry < this.#count; entry++) {
      const at = entry * fieldsPerAnswer + answerGiven;
      if (answers[at] === notYet) answers[at] = now;
    }
    this.#unstamped = this.#count;
    this.#hasUnstamped = false;
  }

  /**
   * The usual answer, small and given just now: {@link frame} and {@link settle} in one, for speed.
   * How many bytes it is when framed, or 0 where it is not of that kind.
   */
  answer(
    connection: Target,
    framer: ReplyFramer,
    bytes: Uint8Array,
    sequence: number,
    receivedAt: number,
  ): number {
    const { length } = bytes;
    if (length === 0 || length >= largeFrameBytes) return 0;
    if (!this.#isFollowedBy(sequence)) this.#end();
    const framed = this.#frameSmall(connection, framer, bytes);
    this.#settle(sequence, 1);
    this.#countAnswer(receivedAt, null);
    return framed;
  }

  /**
   * Frames bytes and sends them; {@link settle} says what they settle. Where that is the request
   * `sequence`, they share no entry with replies that it doesn't follow: those of several threads
   * stand between them.
   */
  frame(
    connection: Target,
    framer: ReplyFramer,
    reply: Uint8Array | readonly Uint8Array[],
    sequence: number | null = null,
  ): void {
    if (sequence !== null && !this.#isFollowedBy(sequence)) this.#end();
    if (reply instanceof Uint8Array && reply.length < largeFrameBytes) {
      this.#frameSmall(connection, framer, reply);
    } else {
      this.#frameParts(connection, framer, reply instanceof Uint8Array ? [reply] : reply);
    }
  }

  /**
   * Frames bytes that answer no request (`null`: none), and sends them. With a `mark` an event says when
   * they, and all that was given before, have left.
   */
  push(
    connection: Target,
    framer: ReplyFramer,
    bytes: Uint8Array | readonly Uint8Array[] | null,
    mark: number | null,
  ): void {
    this.#end();
    this.#flags = commandFlags.push << 16;
    if (bytes !== null) this.frame(connection, framer, bytes);
    if (mark !== null) {
      if (this.#open === null) this.#beginReply(reply, connection);
      this.#sequence = mark;
      this.#mark(commandFlags.notify << 16);
    }
    this.#flags = 0;
    this.#end();
    // The core copies large parts inside the call, and the program may change them after this one.
    if (this.#larges.length > 0) this.flush();
  }

  /** The usual reply: header, bytes and trailer stand side by side. How many bytes they are. */
  #frameSmall(connection: Target, framer: ReplyFramer, bytes: Uint8Array): number {
    const { trailer } = framer;
    const { length } = bytes;
    this.#makeRoom(framer.maxHeaderBytes + length + trailer.length);
    const slab = this.#slab;
    const start = this.#slabUsed;
    let end = start + framer.writeHeader(slab, start, length);
    // Not of memory that was transferred away: it has no bytes, and set() would throw.
    if (length > 0) slab.set(bytes, end);
    end += length;
    if (trailer.length > 0) {
      slab.set(trailer, end);
      end += trailer.length;
    }
    if (end > start) this.#extend(connection, end - start);
    return end - start;
  }

  #frameParts(connection: Target, framer: ReplyFramer, reply: readonly Uint8Array[]): void {
    const parts = this.#keepsRepliesWhole ? this.#gather(framer, reply) : reply;
    this.#makeRoom(framer.maxHeaderBytes);
    const headerBytes = framer.writeHeader(this.#slab, this.#slabUsed, lengthOf(parts));
    if (headerBytes > 0) this.#extend(connection, headerBytes);
    for (const part of parts) this.#append(connection, part);
    if (framer.trailer.length > 0) this.#append(connection, framer.trailer);
  }

  /**
   * What was sent last (or nothing) settles requests; `closeCode` then closes the connection.
   *
   * @param answered the request, where it has an answer: its times cross with it. Those that share an
   *   entry were received together; {@link givenAt} separates them from others
   */
  settle(
    connection: Target,
    sequence: number,
    settles: number,
    closeCode: CloseCode | null,
    flags: number,
    answered: Answered | null = null,
  ): void {
    // An entry whose fate is told, or which is no answer, stands for itself.
    const goesOn = this.#isFollowedBy(sequence) && (flags === 0 || this.#settles === 0);
    if (this.#open !== connection || !goesOn) this.#beginReply(reply, connection);
    this.#settle(sequence, settles);
    if (answered !== null) this.#countAnswer(answered.receivedAt, answered.readyAt);
    const reason = closeCode === null ? 0 : closeReasonNumbers[closeCode];
    if (reason !== 0 || flags !== 0) {
      this.#mark((reason << 8) | (flags << 16));
      this.#end();
    }
    // The core copies large parts inside the call, and the handler may change them after this one.
    if (this.#larges.length > 0) this.flush();
  }

  /** Whether the last entry may have to do with this request, too. */
  #isFollowedBy(sequence: number): boolean {
    return this.#settles === 0 || sequence === this.#next;
  }

  /** The last entry does. */
  #settle(sequence: number, settles: number): void {
    if (this.#settles === 0) this.#sequence = sequence;
    this.#settles += settles;
    this.#next = (sequence + settles) >>> 0;
  }

  /** The last entry has one more answer, to a request that was received as those before it. */
  #countAnswer(receivedAt: number, readyAt: number | null): void {
    if (this.#answered++ === 0) {
      const at = (this.#count - 1) * fieldsPerAnswer;
      this.#answers[at + answerReceived] = receivedAt;
      this.#answers[at + answerGiven] = readyAt ?? notYet;
    }
    if (readyAt === null) this.#hasUnstamped = true;
    else this.#end();
  }

  accept(connection: Target): void {
    this.#begin(accept, connection);
  }

  close(connection: Target, code: CloseCode): void {
    this.#begin(close | (closeReasonNumbers[code] << 8), connection);
  }

  /** Nothing more is cut until {@link setFraming}; an event says where that is. */
  hold(connection: Target): void {
    this.#begin(hold, connection);
  }

  /** Nothing is read for so long; an event says when that is over. */
  throttle(connection: Target, ms: number): void {
    const at = this.#begin(throttle, connection);
    this.#table[at + field.length] = ms;
  }

  /** `unread` are to be cut by `framing`; they were `count` requests. */
  setFraming(
    connection: Target,
    framing: NativeFraming,
    unread: Uint8Array | null,
    sequence: number,
    count: number,
  ): void {
    const at = this.#begin(setFraming, connection);
    const table = this.#table;
    table[at + field.sequence] = sequence;
    table[at + field.settles] = count;
    table[at + field.offset] = unread === null ? noPart : this.#larges.push(unread) - 1;
    table[at + field.length] = this.#framings.push(framing) - 1;
  }

  flush(): void {
    if (this.#count === 0 && this.released === 0) return;
    if (this.#hasUnstamped) this.givenAt(performance.now());
    this.#end();
    const { released } = this;
    const larges = this.#larges;
    const framings = this.#framings;
    const count = this.#count;
    const slabUsed = this.#slabUsed;
    this.#count = 0;
    this.#unstamped = 0;
    this.#slabUsed = 0;
    this.released = 0;
    if (larges.length > 0) this.#larges = [];
    if (framings.length > 0) this.#framings = [];
    this.#native.submit(count, slabUsed, larges, framings, released);
  }

  /** Sees to it that the reply needs no flush in its middle. */
  #gather(framer: ReplyFramer, parts: readonly Uint8Array[]): readonly Uint8Array[] {
    let small = framer.maxHeaderBytes + framer.trailer.byteLength;
    for (const { byteLength } of parts) if (byteLength < largeFrameBytes) small += byteLength;
    // Every part may need an entry, and header and trailer one each.
    const entries = parts.length + 2;
    const fits = small <= slabBytes && entries <= entriesPerTable;
    const room = slabBytes - this.#slabUsed;
    if (!fits || small > room || this.#count + entries > entriesPerTable) this.flush();
    return fits ? parts : [Buffer.concat(parts)];
  }

  #append(connection: Target, bytes: Uint8Array): void {
    const { length } = bytes;
    if (length >= largeFrameBytes) {
      const at = this.#beginReply(replyLarge, connection);
      this.#table[at + field.offset] = this.#larges.push(bytes) - 1;
      return;
    }
    if (length === 0) return;
    this.#makeRoom(length);
    this.#slab.set(bytes, this.#slabUsed);
    this.#extend(connection, length);
  }

  /** Room for the bytes, and for the entry that will name them. */
  #makeRoom(bytes: number): void {
    if (slabBytes - this.#slabUsed < bytes || this.#count === entriesPerTable) this.flush();
  }

  /** The next `length` bytes of the slab belong to the connection. */
  #extend(connection: Target, length: number): void {
    if (this.#open !== connection || !this.#takesBytes) this.#beginReply(reply, connection);
    this.#length += length;
    this.#slabUsed += length;
  }

  /** A new entry, to which more may be added. */
  #beginReply(kind: typeof reply | typeof replyLarge, connection: Target): number {
    const at = this.#begin(kind, connection);
    this.#open = connection;
    this.#takesBytes = kind === reply;
    return at;
  }

  /** A new entry, which settles nothing and has no bytes, at the end of the slab. */
  #begin(kind: number, connection: Target): number {
    this.#end();
    if (this.#count === entriesPerTable) this.flush();
    const at = this.#at(this.#count++);
    const table = this.#table;
    table[at + field.kind] = kind | this.#flags;
    table[at + field.processor] = connection.processor;
    table[at + field.slot] = connection.slot;
    table[at + field.generation] = connection.generation;
    table[at + field.sequence] = 0;
    table[at + field.settles] = 0;
    table[at + field.offset] = this.#slabUsed;
    table[at + field.length] = 0;
    this.#answers[(this.#count - 1) * fieldsPerAnswer + answerCount] = 0;
    return at;
  }

  /** Of the last entry: its reason and flags. */
  #mark(bits: number): void {
    const at = this.#at(this.#count - 1) + field.kind;
    this.#table[at] = (this.#table[at] as number) | bits;
  }

  /** Nothing more is added to the last entry. */
  #end(): void {
    if (this.#open === null) return;
    const at = this.#at(this.#count - 1);
    const table = this.#table;
    table[at + field.sequence] = this.#sequence;
    table[at + field.settles] = this.#settles;
    table[at + field.length] = this.#length;
    this.#answers[(this.#count - 1) * fieldsPerAnswer + answerCount] = this.#answered;
    this.#open = null;
    this.#sequence = 0;
    this.#settles = 0;
    this.#length = 0;
    this.#answered = 0;
  }

  #at(entry: number): number {
    return entry * fieldsPerEntry;
  }
}
