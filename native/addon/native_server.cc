#include "native_server.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "../core/check.h"
#include "../platform/system_platform.h"
#include "config.h"
#include "crossing.h"
#include "js.h"
#include "native_handler.h"

namespace odradek {
namespace {

constexpr size_t kMaxArguments = 5;

void addTimes(double* into, crossing::ProcessorTime which, const TimeHistogram& from) {
  constexpr double kNsPerMs = 1e6;
  double* to = into + size_t{which} * (crossing::kHistogramBuckets + kTimeBuckets);
  to[crossing::kHistogramSum] += static_cast<double>(from.sumNs()) / kNsPerMs;
  to[crossing::kHistogramMax] =
      std::max(to[crossing::kHistogramMax], static_cast<double>(from.maxNs()) / kNsPerMs);
  double* buckets = to + crossing::kHistogramBuckets;
  for (size_t i = 0; i < kTimeBuckets; i++) {
    buckets[i] += static_cast<double>(from.inBucket(i));
  }
}

}  // namespace

// --- Life --------------------------------------------------------------------------------------

napi_value NativeServer::define(napi_env env) {
  const auto method = [](const char* name, napi_callback callback) {
    return napi_property_descriptor{
        name, nullptr, callback, nullptr, nullptr, nullptr, napi_default_method, nullptr};
  };
  const napi_property_descriptor methods[] = {
      method("start", call<&NativeServer::start>),
      method("claim", call<&NativeServer::claim>),
      method("takeEvents", call<&NativeServer::takeEvents>),
      method("rest", call<&NativeServer::rest>),
      method("submit", call<&NativeServer::submit>),
      method("takeBack", call<&NativeServer::takeBack>),
      method("resize", call<&NativeServer::resize>),
      method("isResizing", call<&NativeServer::isResizing>),
      method("updateLimits", call<&NativeServer::updateLimits>),
      method("closeIdle", call<&NativeServer::closeIdle>),
      method("longestWaitMs", call<&NativeServer::longestWaitMs>),
      method("drain", call<&NativeServer::drain>),
      method("stop", call<&NativeServer::stop>),
      method("openHandler", call<&NativeServer::openHandler>),
      method("closeHandler", call<&NativeServer::closeHandler>),
      method("handlerCounters", call<&NativeServer::handlerCounters>),
      method("retireHandler", call<&NativeServer::retireHandler>),
      method("endWaiting", call<&NativeServer::endWaiting>),
      method("openListener", call<&NativeServer::openListener>),
      method("serveListener", call<&NativeServer::serveListener>),
      method("bound", call<&NativeServer::bound>),
      method("drainListener", call<&NativeServer::drainListener>),
      method("cutListener", call<&NativeServer::cutListener>),
      method("ofListener", call<&NativeServer::ofListener>),
      method("counters", call<&NativeServer::counters>),
      method("times", call<&NativeServer::times>),
      method("ref", call<&NativeServer::ref>),
      method("unref", call<&NativeServer::unref>),
  };
  napi_value constructor = nullptr;
  napi_define_class(env, "NativeServer", NAPI_AUTO_LENGTH, construct, nullptr,
                    sizeof(methods) / sizeof(methods[0]), methods, &constructor);
  return constructor;
}

napi_value NativeServer::construct(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value config = nullptr;
  napi_value self = nullptr;
  napi_get_cb_info(env, info, &count, &config, &self, nullptr);
  auto* server = new NativeServer(env, config);
  const auto finalize = [](napi_env, void* data, void*) {
    delete static_cast<NativeServer*>(data);
  };
  const bool is_whole = server->tables_.open(js::get(env, config, "tables"));
  if (is_whole && napi_wrap(env, self, server, finalize, nullptr, nullptr) == napi_ok) return self;
  delete server;
  return nullptr;
}

NativeServer::NativeServer(napi_env env, napi_value config)
    : env_(env),
      server_(readServerConfig(env, config), systemPlatform(), *this),
      tables_(env, js::get(env, config, "now")) {}

NativeServer::~NativeServer() {
  end(CloseReason::kDeadline);
  Event* event = events().takeAll();
  while (event != nullptr) delete std::exchange(event, event->next);
  if (callback_ != nullptr) napi_delete_reference(env_, callback_);
}

template <napi_value (NativeServer::*method)(const napi_value* arguments)>
napi_value NativeServer::call(napi_env env, napi_callback_info info) {
  size_t count = kMaxArguments;
  napi_value arguments[kMaxArguments];
  napi_value self = nullptr;
  napi_get_cb_info(env, info, &count, arguments, &self, nullptr);
  void* server = nullptr;
  if (napi_unwrap(env, self, &server) != napi_ok) return nullptr;
  return (static_cast<NativeServer*>(server)->*method)(arguments);
}

// start(onDoorbell): null, or what failed.
napi_value NativeServer::start(const napi_value* arguments) {
  StartError error = {StartError::Step::kThread, "doorbell", -1, ENOMEM};
  if (openDoorbell(arguments[0])) error = server_.start();
  if (error.step == StartError::Step::kNone && server_.threadless() != nullptr) {
    error = watchThreadless(arguments[0]);
  }
  if (error.step == StartError::Step::kNone) return js::undefined(env_);
  end(CloseReason::kServerClosed);
  return errorObject(error);
}

napi_value NativeServer::errorObject(const StartError& error) {
  napi_value object = js::object(env_);
  js::set(env_, object, "isThread", js::boolean(env_, error.step == StartError::Step::kThread));
  js::set(env_, object, "call", js::string(env_, error.call));
  js::set(env_, object, "listener", js::number(env_, error.listener));
  js::set(env_, object, "errno", js::number(env_, error.error));
  return object;
}

bool NativeServer::openDoorbell(napi_value callback) {
  const napi_status status =
      napi_create_threadsafe_function(env_, callback, nullptr, js::string(env_, "odradek"), 0, 1,
                                      nullptr, nullptr, this, onDoorbell, &doorbell_function_);
  if (status != napi_ok) return false;
  // After the threadsafe function, so that it runs before that one is torn down: hooks run last
  // in, first out. The threads end while everything that they use is alive.
  is_hooked_ = napi_add_env_cleanup_hook(env_, onEnvironmentEnd, this) == napi_ok;
  if (!is_hooked_) return false;
  // Nobody has looked yet, and nobody will until the first ring.
  return doorbell().trySleep();
}

StartError NativeServer::watchThreadless(napi_value callback) {
  const auto onReadable = [](void* server) { static_cast<NativeServer*>(server)->onReadable(); };
  napi_create_reference(env_, callback, 1, &callback_);
  napi_async_init(env_, nullptr, js::string(env_, "odradek"), &async_context_);
  const int fd = server_.threadlessPoller()->descriptor();
  const int error = watcher_.start(env_, fd, onReadable, this);
  // It has slept since it was made; connections may have come.
  if (error == 0) server_.threadlessPoller()->wake();
  return error == 0 ? StartError() : StartError{StartError::Step::kThread, "uv_poll", -1, error};
}

// Something is there for the processor without a thread. Its turn is taken by the next claim.
void NativeServer::onReadable() {
  if (has_ended_) return;
  doorbell().awake();
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(env_, &scope);
  napi_value callback = nullptr;
  napi_get_reference_value(env_, callback_, &callback);
  // Contained by the TypeScript side. Microtasks and ticks run before this returns.
  napi_make_callback(env_, async_context_, js::object(env_), callback, 0, nullptr, nullptr);
  reportThrown();
  napi_close_handle_scope(env_, scope);
}

// What a tick threw is left pending, and libuv has no JavaScript above it that could catch it: the
// next call of the addon would throw it, or a finalizer swallow it.
void NativeServer::reportThrown() {
  bool is_pending = false;
  napi_is_exception_pending(env_, &is_pending);
  napi_value error = nullptr;
  if (!is_pending || napi_get_and_clear_last_exception(env_, &error) != napi_ok) return;
  napi_fatal_exception(env_, error);
}

void NativeServer::onEnvironmentEnd(void* data) {
  auto* server = static_cast<NativeServer*>(data);
  server->is_hooked_ = false;
  server->end(CloseReason::kDeadline);
}

void NativeServer::end(CloseReason reason) {
  if (has_ended_) return;
  has_ended_ = true;
  watcher_.stop();
  if (async_context_ != nullptr) napi_async_destroy(env_, std::exchange(async_context_, nullptr));
  server_.stop(reason);
  server_.requests().clear();
  tables_.dropClaimed();
  for (const Request& request : std::exchange(waiting_, {})) request.block->release();
  closeDoorbell();
}

void NativeServer::closeDoorbell() {
  if (is_hooked_) napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
  is_hooked_ = false;
  if (doorbell_function_ == nullptr) return;
  // The threads are gone, so nobody calls it any more; a ring still queued finds the server ended.
  napi_release_threadsafe_function(std::exchange(doorbell_function_, nullptr), napi_tsfn_abort);
}

void NativeServer::wake() {
  if (doorbell_function_ == nullptr) return;
  // Never blocks. It fails while the environment ends, and then nobody is left to be told.
  napi_call_threadsafe_function(doorbell_function_, nullptr, napi_tsfn_nonblocking);
}

void NativeServer::onDoorbell(napi_env env, napi_value callback, void* context, void*) {
  if (env == nullptr || callback == nullptr) return;
  auto* server = static_cast<NativeServer*>(context);
  if (server->has_ended_) return;
  server->doorbell().awake();
  // Contained by the TypeScript side; Node 20 would swallow what is thrown here.
  napi_call_function(env, js::undefined(env), callback, 0, nullptr, nullptr);
}

// --- Requests and events to JavaScript ---------------------------------------------------------

// claim(slab, used, larges): how many requests were written to the table. Their frames lie in the
// slab from `used` on, large ones in `larges`.
napi_value NativeServer::claim(const napi_value* arguments) {
  bool is_drained = false;
  if (tables_.isWritten() && !has_ended_) {
    is_resting_ = false;
    Processor* processor = server_.threadless();
    // One that has ended (its poller was lost) has nothing to be watched for.
    if (processor != nullptr && !processor->turn()) watcher_.stop();
    is_drained = server_.requests().claim(tables_.refill(), crossing::kEntriesPerTable);
  }
  const uint32_t count = tables_.write(arguments[0], arguments[1], arguments[2], !is_drained);
  // Looked at after the claim: what was posted before a claimed request is there to be taken.
  tables_.setEvents(!events().empty());
  return js::number(env_, count);
}

// takeEvents(): every event since the last call, oldest first.
napi_value NativeServer::takeEvents(const napi_value*) { return tables_.takeEvents(*this); }

// rest(): true if the next ring will call the doorbell function; false if somebody has rung since.
napi_value NativeServer::rest(const napi_value*) {
  if (has_ended_) return js::boolean(env_, true);
  busyPoll();
  bool sleeps = doorbell().trySleep();
  int64_t timeout_ns = -1;
  if (Processor* processor = server_.threadless(); sleeps && processor != nullptr) {
    sleeps = is_resting_ = processor->rest(&timeout_ns);
  }
  if (!sleeps) doorbell().awake();
  const int64_t timeout_ms = timeout_ns < 0 ? 0 : toMs(timeout_ns);
  tables_.setTimeoutMs(static_cast<uint32_t>(timeout_ms));
  return js::boolean(env_, sleeps);
}

// Spins before the JavaScript thread goes back to its event loop.
void NativeServer::busyPoll() {
  const int64_t busy_poll_ns = server_.config().busy_poll_ns;
  // Without a thread there is one loop, and the processor's own turn spins.
  if (busy_poll_ns == 0 || server_.threadless() != nullptr) return;
  Clock& clock = systemPlatform().clock();
  const int64_t until_ns = clock.now() + busy_poll_ns;
  while (!doorbell().isRung() && clock.now() < until_ns) {
  }
}

// --- Commands from JavaScript ------------------------------------------------------------------

// submit(count, slabBytes, larges, framings, released): hands the commands of the table to their
// processors.
napi_value NativeServer::submit(const napi_value* arguments) {
  if (has_ended_) return js::undefined(env_);
  const uint32_t count = js::toUint32(env_, arguments[0]);
  Block* slab = tables_.takeReplies(js::toUint32(env_, arguments[1]));
  batches_.assign(server_.processors().size(), nullptr);
  for (uint32_t i = 0; i < count; i++) {
    Command command = tables_.readCommand(i, slab, arguments[2], arguments[3]);
    CommandBatch*& batch = batches_[command.channel.processor];
    if (batch == nullptr) {
      batch = new CommandBatch();
      batch->commands.reserve(count - i);
    }
    batch->commands.push_back(std::move(command));
  }
  if (slab != nullptr) slab->release();
  for (uint32_t i = 0; i < batches_.size(); i++) {
    if (batches_[i] == nullptr) continue;
    if (server_.requests().hasPool()) tieParts(batches_[i]->commands);
    if (is_resting_) {
      obeyResting(batches_[i]);
    } else {
      server_.submit(i, batches_[i]);
    }
  }
  server_.requests().release(static_cast<int32_t>(js::toNumber(env_, arguments[4])));
  return js::undefined(env_);
}

// takeBack(buffer): a large frame was lent, and its request is settled.
napi_value NativeServer::takeBack(const napi_value* arguments) {
  tables_.takeBack(arguments[0]);
  return js::undefined(env_);
}

// Replies that settle outside of a turn: the processor without a thread sends them here and now,
// which saves a wake-up and a round of the event loop.
void NativeServer::obeyResting(CommandBatch* batch) {
  Processor* processor = server_.threadless();
  processor->obey(batch);
  int64_t timeout_ns = 0;
  is_resting_ = processor->rest(&timeout_ns);
  // More to do, or a deadline that nobody knows of yet: the event loop comes by.
  if (!is_resting_ || timeout_ns > 0) server_.threadlessPoller()->wake();
}

// --- The handler pool --------------------------------------------------------------------------

// openHandler(place, capacity): the number by which a worker becomes this place's thread.
napi_value NativeServer::openHandler(const napi_value* arguments) {
  const uint32_t place = js::toUint32(env_, arguments[0]);
  if (published_.size() <= place) published_.resize(place + 1);
  published_[place] =
      NativeHandler::publish(server_.openHandler(place, js::toUint32(env_, arguments[1])));
  return js::number(env_, published_[place]);
}

// closeHandler(place): { started, waiting, putBack }. Those that wait stand behind started ones of
// their connection, until endWaiting().
napi_value NativeServer::closeHandler(const napi_value* arguments) {
  const uint32_t place = js::toUint32(env_, arguments[0]);
  NativeHandler::withdraw(published_[place]);
  RequestHandler::Remains remains = server_.closeHandler(place);
  napi_value object = js::object(env_);
  js::set(env_, object, "started", lostRequests(remains.started));
  js::set(env_, object, "waiting", lostRequests(remains.waiting));
  js::set(env_, object, "putBack", js::number(env_, remains.put_back));
  for (const Request& request : remains.started) request.block->release();
  waiting_.insert(waiting_.end(), remains.waiting.begin(), remains.waiting.end());
  return object;
}

napi_value NativeServer::lostRequests(const std::vector<Request>& requests) {
  napi_value array = js::array(env_);
  for (uint32_t i = 0; i < requests.size(); i++) {
    const Request& request = requests[i];
    napi_value object = js::object(env_);
    const auto number = [&](const char* name, double value) {
      js::set(env_, object, name, js::number(env_, value));
    };
    number("processor", request.channel.processor);
    number("slot", request.channel.slot);
    number("generation", request.channel.generation);
    number("sequence", request.sequence);
    number("bodyBegin", request.body_begin);
    number("bodyEnd", request.body_end);
    number("receivedAt", tables_.toMs(request.received_at_ns));
    js::set(env_, object, "frame",
            js::bytes(env_, request.block->data() + request.offset, request.frame_bytes));
    js::set(env_, array, i, object);
  }
  return array;
}

// handlerCounters(place): { inWork, claimed }, zeros where there is no thread.
napi_value NativeServer::handlerCounters(const napi_value* arguments) {
  const uint32_t place = js::toUint32(env_, arguments[0]);
  const auto& handlers = server_.handlers();
  const RequestHandler* handler = place < handlers.size() ? handlers[place].get() : nullptr;
  const uint32_t in_work = handler == nullptr ? 0 : handler->inWork();
  const uint64_t claimed = handler == nullptr ? 0 : handler->claimed();
  napi_value object = js::object(env_);
  js::set(env_, object, "inWork", js::number(env_, in_work));
  js::set(env_, object, "claimed", js::number(env_, static_cast<double>(claimed)));
  return object;
}

// retireHandler(place).
napi_value NativeServer::retireHandler(const napi_value* arguments) {
  server_.retireHandler(js::toUint32(env_, arguments[0]));
  return js::undefined(env_);
}

// endWaiting(processor, slot, generation, wanted): what waits of this connection goes to the head
// of the queue, or, if its connection is closing, nowhere.
napi_value NativeServer::endWaiting(const napi_value* arguments) {
  const ChannelId channel = {js::toUint32(env_, arguments[0]), js::toUint32(env_, arguments[1]),
                             js::toUint32(env_, arguments[2])};
  std::vector<Request> ended;
  std::erase_if(waiting_, [&](const Request& request) {
    if (request.channel == channel) ended.push_back(request);
    return request.channel == channel;
  });
  if (js::toBoolean(env_, arguments[3]) && !has_ended_) {
    server_.requests().putBack(ended);
  } else {
    for (const Request& request : ended) request.block->release();
  }
  return js::undefined(env_);
}

// --- The rest ----------------------------------------------------------------------------------

// resize(networkThreads): undefined, or what failed.
napi_value NativeServer::resize(const napi_value* arguments) {
  if (has_ended_) return js::undefined(env_);
  const StartError error = server_.resize(js::toUint32(env_, arguments[0]));
  return error.step == StartError::Step::kNone ? js::undefined(env_) : errorObject(error);
}

// isResizing(): whether processors are still to leave.
napi_value NativeServer::isResizing(const napi_value*) {
  return js::boolean(env_, !has_ended_ && server_.isResizing());
}

// updateLimits(limits): { timeouts, connections, memory }.
napi_value NativeServer::updateLimits(const napi_value* arguments) {
  if (has_ended_) return js::undefined(env_);
  server_.updateLimits(readTimeouts(env_, js::get(env_, arguments[0], "timeouts")),
                       readConnectionLimits(env_, js::get(env_, arguments[0], "connections")),
                       readMemoryLimits(env_, js::get(env_, arguments[0], "memory")));
  return js::undefined(env_);
}

napi_value NativeServer::closeIdle(const napi_value*) {
  if (!has_ended_) server_.closeIdle();
  return js::undefined(env_);
}

// longestWaitMs(): 0 where nobody waits.
napi_value NativeServer::longestWaitMs(const napi_value*) {
  const int64_t wait_ns = has_ended_ ? 0 : server_.longestWaitNs();
  return js::number(env_, static_cast<double>(wait_ns) / 1e6);
}

napi_value NativeServer::drain(const napi_value*) {
  if (!has_ended_) server_.drain();
  return js::undefined(env_);
}

// stop(reason): ends every thread; what they had to tell is still to be taken.
napi_value NativeServer::stop(const napi_value* arguments) {
  end(static_cast<CloseReason>(js::toUint32(env_, arguments[0])));
  return js::undefined(env_);
}

napi_value NativeServer::ref(const napi_value*) {
  if (doorbell_function_ != nullptr) {
    napi_ref_threadsafe_function(env_, doorbell_function_);
  }
  return js::undefined(env_);
}

napi_value NativeServer::unref(const napi_value*) {
  if (doorbell_function_ != nullptr) {
    napi_unref_threadsafe_function(env_, doorbell_function_);
  }
  return js::undefined(env_);
}

// counters(): { queued, pending, listeners, processors }.
napi_value NativeServer::counters(const napi_value*) {
  napi_value object = js::object(env_);
  const auto number = [&](napi_value target, const char* name, uint64_t value) {
    js::set(env_, target, name, js::number(env_, static_cast<double>(value)));
  };
  number(object, "queued", server_.requests().queued());
  number(object, "pending", server_.requests().pending());
  const MemoryPool& memory = server_.memoryPool();
  number(object, "memoryUsed", static_cast<uint64_t>(memory.size() - memory.available()));
  number(object, "unsent", static_cast<uint64_t>(std::max<int64_t>(server_.unsent().total(), 0)));
  number(object, "memoryDepletedUs", static_cast<uint64_t>(memory.depletedNs() / 1000));
  js::set(env_, object, "listeners", listenerCounters());
  napi_value processors = js::array(env_);
  for (uint32_t i = 0; i < server_.processors().size(); i++) {
    const ProcessorCounters& from = server_.processors()[i]->counters();
    napi_value to = js::object(env_);
    js::set(env_, to, "hasLeft", js::boolean(env_, server_.processors()[i]->hasLeft()));
    number(to, "connections", from.connections.value());
    number(to, "opened", from.opened.value());
    number(to, "closed", from.closed.value());
    number(to, "turns", from.turns.value());
    number(to, "polls", from.polls.value());
    number(to, "reads", from.reads.value());
    number(to, "writes", from.writes.value());
    number(to, "wakes", server_.processors()[i]->wakes());
    number(to, "requests", from.requests.value());
    number(to, "responses", from.responses.value());
    number(to, "bytesRead", from.bytes_read.value());
    number(to, "bytesWritten", from.bytes_written.value());
    number(to, "waitingForRoom", from.waiting_for_room.value());
    number(to, "waitingForMemory", from.waiting_for_memory.value());
    number(to, "strayReplies", from.stray_replies.value());
    number(to, "evicted", from.evicted.value());
    number(to, "shed", from.shed.value());
    number(to, "throttles", from.throttles.value());
    number(to, "throttled", from.throttled.value());
    number(to, "idleUs", static_cast<uint64_t>(server_.processors()[i]->idleNs() / 1000));
    js::set(env_, processors, i, to);
  }
  js::set(env_, object, "processors", processors);
  return object;
}

// times(into): the histograms of all processors, as ProcessorTime says.
napi_value NativeServer::times(const napi_value* arguments) {
  auto* into = reinterpret_cast<double*>(js::toBytes(env_, arguments[0]).data);
  if (into == nullptr) return js::undefined(env_);
  for (const auto& processor : server_.processors()) {
    const ProcessorTimes& from = processor->times();
    addTimes(into, crossing::kThrottleTime, from.throttle);
    addTimes(into, crossing::kResponseQueueTime, from.response_queue);
    addTimes(into, crossing::kResponseSendTime, from.response_send);
    addTimes(into, crossing::kTotalTime, from.total);
  }
  return js::undefined(env_);
}

// By number; a hole where none was opened. Of a removed one only what counts on in totals.
napi_value NativeServer::listenerCounters() {
  napi_value array = js::array(env_);
  for (uint32_t i = 0; i < server_.listeners().size(); i++) {
    if (server_.listeners()[i] == nullptr) continue;
    const Listener& listener = *server_.listeners()[i];
    napi_value to = js::object(env_);
    const auto number = [&](const char* name, uint64_t value) {
      js::set(env_, to, name, js::number(env_, static_cast<double>(value)));
    };
    number("connections", server_.quotas().ofListener(static_cast<uint16_t>(i)));
    number("accepted", listener.accepted);
    number("errors", listener.errors);
    if (listener.acceptor != nullptr) {
      const AcceptorCounters& from = listener.acceptor->counters();
      number("accepted", from.accepted.value());
      number("errors", from.errors.value());
      number("refused", from.refused.value());
      number("throttled", from.throttled.value());
      number("parked", from.parked.value());
      number("parkedUs", from.parked_ns.value() / 1000);
      number("blockedUs", static_cast<uint64_t>(listener.acceptor->blockedNs() / 1000));
      number("rateWaits", listener.acceptor->rateWaits());
      number("rateWaitUs", static_cast<uint64_t>(listener.acceptor->rateWaitNs() / 1000));
    }
    js::set(env_, array, i, to);
  }
  return array;
}

// --- Listeners ---------------------------------------------------------------------------------

// openListener(number, listener): undefined, or what failed.
napi_value NativeServer::openListener(const napi_value* arguments) {
  if (has_ended_) return js::undefined(env_);
  const uint32_t number = js::toUint32(env_, arguments[0]);
  const StartError error = server_.openListener(number, readListenerConfig(env_, arguments[1]));
  return error.step == StartError::Step::kNone ? js::undefined(env_) : errorObject(error);
}

// serveListener(number): undefined, or what failed.
napi_value NativeServer::serveListener(const napi_value* arguments) {
  if (has_ended_) return js::undefined(env_);
  const StartError error = server_.serveListener(js::toUint32(env_, arguments[0]));
  return error.step == StartError::Step::kNone ? js::undefined(env_) : errorObject(error);
}

// bound(number): { host, port } of a listener that was opened.
napi_value NativeServer::bound(const napi_value* arguments) {
  const Endpoint& bound = server_.listeners()[js::toUint32(env_, arguments[0])]->bound;
  napi_value address = js::object(env_);
  js::set(env_, address, "host", js::string(env_, bound.host));
  js::set(env_, address, "port", js::number(env_, bound.port));
  return address;
}

napi_value NativeServer::drainListener(const napi_value* arguments) {
  if (!has_ended_) server_.drainListener(js::toUint32(env_, arguments[0]));
  return js::undefined(env_);
}

napi_value NativeServer::cutListener(const napi_value* arguments) {
  if (!has_ended_) server_.cutListener(js::toUint32(env_, arguments[0]));
  return js::undefined(env_);
}

// ofListener(number): { connections, answered }: those that it has, and the replies to them since
// drainListener().
napi_value NativeServer::ofListener(const napi_value* arguments) {
  const uint32_t number = js::toUint32(env_, arguments[0]);
  napi_value object = js::object(env_);
  js::set(env_, object, "connections",
          js::number(env_, server_.quotas().ofListener(static_cast<uint16_t>(number))));
  js::set(env_, object, "answered", js::number(env_, server_.answeredSinceDrain(number)));
  return object;
}

}  // namespace odradek
