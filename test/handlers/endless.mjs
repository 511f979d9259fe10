export const setup = () => new Promise(() => undefined);
export default ({ body }) => body;
