import type { ServerConnection } from '../../connection.js';
import { type DecodedFrame, FrameDecoder } from '../../frame-decoder.js';
import type { CustomFraming } from '../../framing.js';
import { ServerRequest } from '../../request.js';

/** A piece of raw input, which the core counts as one request. */
interface Piece {
  readonly sequence: number;
  /** Requests that ended in it and are not settled. */
  open: number;
  /** Every request that ends in it was made. */
  isCut: boolean;
}

/** A request that was cut out of raw pieces. */
export class CustomRequest<State> extends ServerRequest<State> {
  readonly input: CustomInput<State>;
  readonly piece: Piece;

  constructor(
    connection: ServerConnection<State>,
    frame: DecodedFrame,
    input: CustomInput<State>,
    piece: Piece,
    receivedAt: number,
  ) {
    const { body, memory, offset, length } = frame;
    super(connection, body, piece.sequence, receivedAt, memory, offset, length);
    this.input = input;
    this.piece = piece;
  }
}

/** Pieces that can be settled with the core: the first one's sequence, and how many. */
export interface SettledPieces {
  readonly sequence: number;
  readonly count: number;
}

/**
 * The input of a connection whose framing is `custom`: the core delivers raw pieces, and their
 * frames are cut here. A piece is settled, in order, when every request that ended in it is.
 */
export class CustomInput<State> {
  readonly decoder: FrameDecoder;
  /** Requests received and not settled. */
  unsettled = 0;
  /** Requests settled without an answer. */
  unanswered = 0;
  #pieces: Piece[] = [];
  /** The sequence by which the next piece is settled. */
  #next = 0;

  constructor(framing: CustomFraming, isolateBodies: boolean) {
    this.decoder = new FrameDecoder(framing, isolateBodies);
  }

  /** Requests are being made of a piece at this moment. */
  get isCutting(): boolean {
    return this.#pieces.at(-1)?.isCut === false;
  }

  /** A piece came; requests can be {@link take}n. */
  begin(sequence: number, bytes: Buffer): Piece {
    const piece = { sequence, open: 0, isCut: false };
    if (this.#pieces.length === 0) this.#next = sequence;
    this.#pieces.push(piece);
    this.decoder.push(bytes);
    return piece;
  }

  /** The next request that ends in the piece, or null. */
  take(
    connection: ServerConnection<State>,
    piece: Piece,
    receivedAt: number,
  ): CustomRequest<State> | null {
    if (!this.decoder.find()) return null;
    piece.open++;
    this.unsettled++;
    return new CustomRequest(connection, this.decoder.take(), this, piece, receivedAt);
  }

  settle(request: CustomRequest<State>, isAnswered: boolean): void {
    this.unsettled--;
    if (!isAnswered) this.unanswered++;
    request.piece.open--;
  }

  /** Whether the core still counts some of its pieces. */
  get hasPieces(): boolean {
    return this.#pieces.length > 0;
  }

  /**
   * Takes the pieces that are done off the front, if the core waits for these: `next` is what it
   * waits for, and may be a request of an earlier framing.
   *
   * With `all` those that are done behind others are taken as well. The middle of a frame must not
   * count as in flight behind a request that is: the connection would be muted before the frame is
   * whole. No reply belongs to a piece itself, so the core can be told of as many from the front.
   * Behind what broke the framing that is not done, so that the connection is muted soon.
   */
  takeSettled(next: number, all: boolean): SettledPieces | null {
    const pieces = this.#pieces;
    if (this.#next !== next || pieces.length === 0) return null;
    let count = 0;
    if (all && this.decoder.failure === null) {
      this.#pieces = pieces.filter((piece) => !isDone(piece));
      count = pieces.length - this.#pieces.length;
    } else {
      while (count < pieces.length && isDone(pieces[count] as Piece)) count++;
      if (count > 0) pieces.splice(0, count);
    }
    if (count === 0) return null;
    const sequence = this.#next;
    this.#next = (sequence + count) >>> 0;
    return { sequence, count };
  }

  /** Requests that are cut anew by another framing count no more. */
  withdraw(requests: readonly CustomRequest<State>[]): void {
    this.unsettled -= requests.length;
    for (const { piece } of requests) piece.open--;
  }
}

function isDone(piece: Piece): boolean {
  return piece.open === 0 && piece.isCut;
}
