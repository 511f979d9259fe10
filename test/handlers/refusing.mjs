export { default, setup, teardown } from './commands.mjs';

export const onOverload = ({ body }) => Buffer.from(`refused: ${body}`);
