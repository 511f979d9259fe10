import { connect, type Socket } from 'node:net';
import { within } from './wait.js';

/** How a connection ended, as its client saw it. */
export type End = 'fin' | 'reset';

export interface ClientOptions {
  /** Keep the client's side open when the server has closed its own; default false. */
  staysOpen?: boolean;
  /** Don't read until {@link Client.startReading}; default false. */
  paused?: boolean;
  /** Default 127.0.0.1. */
  host?: string;
  /** From which address of this machine, 127.0.0.2 or so. */
  from?: string;
}

/** A raw TCP client that keeps all it gets. */
export class Client {
  readonly socket: Socket;
  /** Settles when the server's FIN or a reset has come. */
  readonly ended: Promise<End>;
  #chunks: Buffer[] = [];
  #length = 0;
  #end: End | null = null;
  #wake: (() => void) | null = null;

  constructor(socket: Socket, options: ClientOptions = {}) {
    this.socket = socket;
    this.ended = new Promise((resolve) => {
      const end = (how: End) => {
        this.#end ??= how;
        this.#wake?.();
        resolve(how);
      };
      socket.on('end', () => end('fin'));
      socket.on('error', () => end('reset'));
    });
    if (!options.paused) this.startReading();
  }

  static async connect(port: number, options: ClientOptions = {}): Promise<Client> {
    const socket = connect({
      port,
      host: options.host ?? '127.0.0.1',
      ...(options.from === undefined ? {} : { localAddress: options.from }),
      noDelay: true,
      allowHalfOpen: options.staysOpen ?? false,
    });
    await within(
      new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('error', reject);
      }),
      'the connection',
    );
    return new Client(socket, options);
  }

  startReading(): void {
    this.socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.#wake?.();
    });
  }

  /** Bytes that have come and were not read. */
  get available(): number {
    return this.#length;
  }

  /** Sends everything in one write. */
  send(...parts: Uint8Array[]): void {
    this.socket.write(parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts));
  }

  /** Sends in pieces, each handed to the kernel alone, with turns of the event loop between. */
  async sendInPieces(bytes: Uint8Array, pieceBytes: number): Promise<void> {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = bytes.subarray(at, at + pieceBytes);
      await new Promise<void>((resolve) => this.socket.write(piece, () => resolve()));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /**
   * Sends the same bytes again and again, with a turn of the event loop after each time, until the
   * returned function is called or the connection fails.
   */
  pour(bytes: Uint8Array): () => void {
    let isPouring = true;
    const pour = (): void => {
      if (!isPouring || this.socket.destroyed) return;
      this.socket.write(bytes, () => setImmediate(pour));
    };
    pour();
    return () => {
      isPouring = false;
    };
  }

  /** Half-closes: the server sees FIN, and may still answer. */
  end(): void {
    this.socket.end();
  }

  /** Resets the connection. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** The next `length` bytes. Rejects if the connection ends before. */
  async read(length: number): Promise<Buffer> {
    while (this.#length < length) {
      if (this.#end !== null) {
        throw new Error(`${this.#end} after ${this.#length} of ${length} expected bytes`);
      }
      const came = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await within(came, `byte ${this.#length + 1} of ${length}`);
    }
    const all =
      this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    const rest = all.subarray(length);
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#length = rest.length;
    return all.subarray(0, length);
  }

  /** The next frame with a 4-byte size, without it. */
  async readFrame(): Promise<Buffer> {
    const size = (await this.read(4)).readInt32BE();
    return this.read(size);
  }

  async readText(): Promise<string> {
    return (await this.readFrame()).toString();
  }

  async readTexts(count: number): Promise<string[]> {
    const texts: string[] = [];
    while (texts.length < count) texts.push(await this.readText());
    return texts;
  }

  /** Everything up to the server's FIN. Rejects if a reset comes instead. */
  async readToEnd(): Promise<Buffer> {
    const how = await within(this.ended, 'the end of the connection');
    if (how === 'reset') throw new Error(`reset after ${this.#length} bytes`);
    return this.read(this.#length);
  }

  /** How the connection ends; anything that comes before is kept. */
  async seeEnd(): Promise<End> {
    return within(this.ended, 'the end of the connection');
  }
}
