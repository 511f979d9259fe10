export { default, refuse as onOverload, setup } from './closures.mjs';
