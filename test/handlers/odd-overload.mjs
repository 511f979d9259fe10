export const onOverload = 'busy';
export default ({ body }) => body;
