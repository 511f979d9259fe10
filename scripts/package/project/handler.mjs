// What each thread of a handler pool runs.
export default ({ body }) => Buffer.from(body);
