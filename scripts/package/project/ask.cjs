// A client of an echo server: 200 requests at once, one of them large.
const { createConnection } = require('node:net');

const asked = 200;
const large = 1024 * 1024;

/** Sends all requests at once; resolves to how many came back whole and in order. */
module.exports = function ask(port) {
  const bodies = Array.from({ length: asked }, (_none, index) =>
    index === asked / 2 ? Buffer.alloc(large, 'odradek') : Buffer.from(`request ${index}`),
  );
  const frames = bodies.map((body) => {
    const size = Buffer.alloc(4);
    size.writeInt32BE(body.length);
    return Buffer.concat([size, body]);
  });
  const expected = Buffer.concat(frames);
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1');
    const received = [];
    let bytes = 0;
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      received.push(chunk);
      bytes += chunk.length;
      if (bytes >= expected.length) socket.end();
    });
    socket.on('close', () => {
      if (Buffer.concat(received).equals(expected)) resolve(asked);
      else reject(new Error(`${bytes} bytes came, not the ${expected.length} that were asked for`));
    });
    socket.write(expected);
  });
};
