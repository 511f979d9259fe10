export const setup = 'soon';
export default ({ body }) => body;
