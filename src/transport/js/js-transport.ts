import type { Settings } from '../../options.js';
import type { Transport, TransportEvents } from '../../transport.js';
export const JsTransport = null as unknown as new <State>(
  settings: Settings<State>,
  events: TransportEvents<State>,
) => Transport<State>;
