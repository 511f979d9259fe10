Object.defineProperty(exports, '__esModule', { value: true });
exports.default = ({ body }) => Buffer.from(`compiled.cjs: ${body}`);
