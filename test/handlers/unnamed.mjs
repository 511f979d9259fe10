export const handler = ({ body }) => body;
