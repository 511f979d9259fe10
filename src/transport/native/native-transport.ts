import type { Settings } from '../../options.js';
import type { Transport, TransportEvents } from '../../transport.js';
import type { Binding } from './binding.js';
export declare class NT {}
export const NativeTransport = null as unknown as new <State>(
  binding: Binding,
  settings: Settings<State>,
  events: TransportEvents<State>,
) => Transport<State>;
