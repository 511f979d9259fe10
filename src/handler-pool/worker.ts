/**
 * What a thread of the handler pool runs: it loads the handlers' module, says that it is ready, and
 * takes requests as soon as it is attached to a transport.
 */
import { workerData } from 'node:worker_threads';
import type { Reply } from '../reply.js';
import { HandlerTimes } from '../request-times.js';
import { attachHandler } from '../select-transport.js';
import { packError } from './error-crossing.js';
import { type HandlerModule, loadHandlerModule, moduleError } from './handler-module.js';
import { Refusal } from './refusal.js';
import {
  type Attachment,
  type FromThread,
  type ThreadData,
  type ToThread,
  threadStatus,
} from './thread-protocol.js';

const { control, module, thread, data, status, times, refusalMemory } = workerData as ThreadData;
let loaded: HandlerModule | null = null;
let isStopping = false;

function say(message: FromThread): void {
  control.postMessage(message);
}

async function stop(): Promise<void> {
  if (isStopping) return;
  isStopping = true;
  // What was said before about requests is heard before.
  await new Promise((resolve) => setImmediate(resolve));
  try {
    await loaded?.teardown?.();
  } catch (error) {
    say({ kind: 'teardownFailed', error: packError(error) });
  }
  process.exit();
}

control.on('message', (message: ToThread) => {
  if (message.kind === 'ping') Atomics.store(status, threadStatus.pong, message.count);
  else if (message.kind === 'stop') void stop();
  else attach(message.attachment);
});

function attach(attachment: Attachment): void {
  if (loaded === null) return;
  const { default: handler, onOverload } = loaded;
  const refusal = new Refusal(onOverload, refusalMemory);
  attachHandler(
    (request) => refusal.run(request, handler) as Reply,
    attachment,
    new HandlerTimes(times),
  );
  say({ kind: 'attached' });
}

try {
  const handlers = await loadHandlerModule(module);
  try {
    await handlers.setup?.({ thread, data });
  } catch (cause) {
    throw moduleError(`setup of ${module} failed`, cause);
  }
  loaded = handlers;
  say({ kind: 'ready' });
} catch (error) {
  say({ kind: 'unusable', error: packError(error) });
  process.exit();
}
