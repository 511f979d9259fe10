// What the soak's clients ask for, and how handlers and `onHandlerError` answer: every request has
// an id that no other of its phase has, and its reply says that id.

/** How many ids a phase has: the handlers' table of them is shared memory. */
export const mostRequests = 1 << 22;
export const mostConnections = 1 << 16;

/** What a handler does. The bad ones end their thread, or keep it, or never answer. */
export const commands = [
  'echo',
  'make',
  'soon',
  'wait',
  'spin',
  'throw',
  'last',
  'exit',
  'exitLater',
  'crash',
  'reject',
  'eat',
  'hang',
  'stick',
];

const numbers = new Map(commands.map((command, number) => [command, number]));
const headerBytes = 20;

/** `argument` is in milliseconds; `replyBytes` counts for what a handler makes itself. */
export function writeRequest(request) {
  const { id, connection, sequence, command, isFatal, argument, bodyBytes, replyBytes } = request;
  const frame = Buffer.alloc(4 + headerBytes + bodyBytes, id & 0xff);
  frame.writeInt32BE(headerBytes + bodyBytes, 0);
  frame.writeUInt32BE(id, 4);
  frame.writeUInt32BE(connection, 8);
  frame.writeUInt32BE(sequence, 12);
  frame.writeUInt8(numbers.get(command), 16);
  frame.writeUInt8(isFatal ? 1 : 0, 17);
  frame.writeUInt16BE(argument, 18);
  frame.writeUInt32BE(replyBytes, 20);
  return frame;
}

export function readRequest(body) {
  return {
    id: body.readUInt32BE(0),
    connection: body.readUInt32BE(4),
    sequence: body.readUInt32BE(8),
    command: commands[body.readUInt8(12)],
    /** Without a handler's reply its connection is to be closed. */
    isFatal: body.readUInt8(13) === 1,
    argument: body.readUInt16BE(14),
    replyBytes: body.readUInt32BE(16),
    filling: body.subarray(headerBytes),
  };
}

/** A reply's first part; `text` is empty, or what was wrong, and then nothing follows. */
export function replyHead(id, text) {
  const head = Buffer.alloc(5 + text.length);
  head.writeUInt32BE(id, 0);
  head.writeUInt8(text.length, 4);
  head.write(text, 5);
  return head;
}

export function readReply(body) {
  const length = body.readUInt8(4);
  return {
    id: body.readUInt32BE(0),
    text: body.toString('latin1', 5, 5 + length),
    filling: body.subarray(5 + length),
  };
}

export function isFilledWith(bytes, id) {
  return bytes.equals(Buffer.alloc(bytes.length, id & 0xff));
}
