import { OdradekError } from './errors.js';
import type { Settings } from './options.js';
import { JsTransport } from './transport/js/js-transport.js';
import { loadBinding, nativeUnavailabilityCause } from './transport/native/binding.js';
import { NativeTransport } from './transport/native/native-transport.js';
import type { Transport, TransportEvents } from './transport.js';

/** Makes the transport that the settings ask for. */
export function selectTransport<State>(
  settings: Settings<State>,
  events: TransportEvents<State>,
): Transport<State> {
  const binding = settings.transport === 'js' ? null : loadBinding();
  if (binding !== null) return new NativeTransport(binding, settings, events);
  if (settings.transport === 'native') {
    const cause = nativeUnavailabilityCause();
    throw new OdradekError('ERR_ODRADEK_NATIVE_UNAVAILABLE', cause?.message ?? 'not loaded', {
      cause,
    });
  }
  return new JsTransport(settings, events);
}
