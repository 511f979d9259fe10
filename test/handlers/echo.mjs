export default ({ body }) => body;
