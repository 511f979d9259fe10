import { OdradekError } from './errors.js';
import { MessageHandler } from './handler-pool/message-handler.js';
import type { MessageAttachment } from './handler-pool/message-protocol.js';
import type { Attachment } from './handler-pool/thread-protocol.js';
import { nativeBinding, nativeUnavailabilityCause } from './native-availability.js';
import type { Handler, Settings } from './options.js';
import type { HandlerTimes } from './request-times.js';
import { JsTransport } from './transport/js/js-transport.js';
import { NativeHandlerThread } from './transport/native/native-handler-thread.js';
import type { NativeAttachment } from './transport/native/native-link-protocol.js';
import { NativeTransport } from './transport/native/native-transport.js';
import type { Transport, TransportEvents } from './transport.js';

/** Makes the transport that the settings ask for. */
export function selectTransport<State>(
  settings: Settings<State>,
  events: TransportEvents<State>,
): Transport<State> {
  const binding = settings.transport === 'js' ? null : nativeBinding();
  if (binding !== null) return new NativeTransport(binding, settings, events);
  if (settings.transport === 'native') {
    const cause = nativeUnavailabilityCause();
    throw new OdradekError('ERR_ODRADEK_NATIVE_UNAVAILABLE', cause?.message ?? 'not loaded', {
      cause,
    });
  }
  if (settings.transport === 'auto') warnOfFallback();
  return new JsTransport(settings, events);
}

let isWarned = false;

/** Once in a thread. What asked for the js transport is not warned. */
function warnOfFallback(): void {
  if (isWarned) return;
  isWarned = true;
  const why = nativeUnavailabilityCause()?.message.trim().replace(/\.?$/, '.');
  process.emitWarning(
    `odradek serves with its js transport: ${why} 'npx odradek doctor' says more. transport: 'js' ` +
      `in the options, or node --disable-warning=ODRADEK_JS_TRANSPORT, silences this.`,
    { type: 'OdradekWarning', code: 'ODRADEK_JS_TRANSPORT' },
  );
}

/** In a thread of the handler pool: takes requests as the server's transport gives them. */
export function attachHandler(handler: Handler, attachment: Attachment, times: HandlerTimes): void {
  if (attachment.kind === 'js')
    new MessageHandler(handler, attachment as MessageAttachment, times).start();
  else new NativeHandlerThread(handler, attachment as NativeAttachment, times).start();
}
