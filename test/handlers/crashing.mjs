export function setup() {
  setImmediate(() => {
    throw new Error('crashed while it was set up');
  });
  return new Promise(() => undefined);
}

export default ({ body }) => body;
