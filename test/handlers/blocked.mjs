export const setup = () => {
  for (;;);
};
export default ({ body }) => body;
