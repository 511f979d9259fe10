module.exports = ({ body }) => Buffer.from(`common.cjs: ${body}`);
