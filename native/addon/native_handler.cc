#include "native_handler.h"

#include <map>
#include <mutex>
#include <utility>

#include "config.h"
#include "js.h"

namespace odradek {
namespace {

constexpr size_t kMaxArguments = 4;

// Handlers between the environment of their server and that of their thread. Never destroyed:
// threads may outlive the statics of a process that exits.
struct Published {
  std::mutex mutex;
  std::map<double, std::shared_ptr<RequestHandler>> handlers;
  double last = 0;
};

Published& published() {
  static auto& published = *new Published();
  return published;
}

}  // namespace

double NativeHandler::publish(std::shared_ptr<RequestHandler> handler) {
  std::lock_guard lock(published().mutex);
  published().handlers[++published().last] = std::move(handler);
  return published().last;
}

void NativeHandler::withdraw(double number) {
  std::lock_guard lock(published().mutex);
  published().handlers.erase(number);
}

// --- Life --------------------------------------------------------------------------------------

napi_value NativeHandler::define(napi_env env) {
  const auto method = [](const char* name, napi_callback callback) {
    return napi_property_descriptor{
        name, nullptr, callback, nullptr, nullptr, nullptr, napi_default_method, nullptr};
  };
  const napi_property_descriptor methods[] = {
      method("start", call<&NativeHandler::start>),
      method("claim", call<&NativeHandler::claim>),
      method("takeEvents", call<&NativeHandler::takeEvents>),
      method("rest", call<&NativeHandler::rest>),
      method("submit", call<&NativeHandler::submit>),
      method("takeBack", call<&NativeHandler::takeBack>),
      method("describe", call<&NativeHandler::describe>),
      method("forget", call<&NativeHandler::forget>),
      method("leave", call<&NativeHandler::leave>),
  };
  napi_value constructor = nullptr;
  napi_define_class(env, "NativeHandler", NAPI_AUTO_LENGTH, construct, nullptr,
                    sizeof(methods) / sizeof(methods[0]), methods, &constructor);
  return constructor;
}

// new NativeHandler({ number, now, tables }).
napi_value NativeHandler::construct(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value config = nullptr;
  napi_value self = nullptr;
  napi_get_cb_info(env, info, &count, &config, &self, nullptr);
  const double number = js::toNumber(env, js::get(env, config, "number"));
  std::shared_ptr<RequestHandler> core;
  {
    std::lock_guard lock(published().mutex);
    const auto found = published().handlers.find(number);
    if (found == published().handlers.end()) return nullptr;
    core = std::move(found->second);
    published().handlers.erase(found);
  }
  auto* handler = new NativeHandler(env, std::move(core), js::get(env, config, "now"));
  const auto finalize = [](napi_env, void* data, void*) {
    delete static_cast<NativeHandler*>(data);
  };
  const bool is_whole = handler->tables_.open(js::get(env, config, "tables"));
  if (is_whole && napi_wrap(env, self, handler, finalize, nullptr, nullptr) == napi_ok) return self;
  delete handler;
  return nullptr;
}

NativeHandler::NativeHandler(napi_env env, std::shared_ptr<RequestHandler> handler, napi_value now)
    : env_(env), handler_(std::move(handler)), tables_(env, now) {}

NativeHandler::~NativeHandler() { end(); }

template <napi_value (NativeHandler::*method)(const napi_value* arguments)>
napi_value NativeHandler::call(napi_env env, napi_callback_info info) {
  size_t count = kMaxArguments;
  napi_value arguments[kMaxArguments];
  napi_value self = nullptr;
  napi_get_cb_info(env, info, &count, arguments, &self, nullptr);
  void* handler = nullptr;
  if (napi_unwrap(env, self, &handler) != napi_ok) return nullptr;
  return (static_cast<NativeHandler*>(handler)->*method)(arguments);
}

// start(onDoorbell): false if the server has let go of this thread already.
napi_value NativeHandler::start(const napi_value* arguments) {
  const napi_status status =
      napi_create_threadsafe_function(env_, arguments[0], nullptr, js::string(env_, "odradek"), 0,
                                      1, nullptr, nullptr, this, onDoorbell, &doorbell_function_);
  if (status != napi_ok) return js::boolean(env_, false);
  // After the threadsafe function, so that it runs before that one is torn down: hooks run last
  // in, first out.
  is_hooked_ = napi_add_env_cleanup_hook(env_, onEnvironmentEnd, this) == napi_ok;
  loop_.open(env_);
  const bool is_wanted = is_hooked_ && handler_->enter(*this, tables_.marks());
  if (!is_wanted) end();
  return js::boolean(env_, is_wanted);
}

void NativeHandler::onEnvironmentEnd(void* data) {
  auto* handler = static_cast<NativeHandler*>(data);
  handler->is_hooked_ = false;
  handler->end();
}

void NativeHandler::end() {
  if (has_ended_) return;
  has_ended_ = true;
  handler_->leave();
  tables_.dropClaimed();
  if (is_hooked_) napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
  is_hooked_ = false;
  if (doorbell_function_ == nullptr) return;
  napi_release_threadsafe_function(std::exchange(doorbell_function_, nullptr), napi_tsfn_abort);
}

// Between enter() and leave() alone, so the function is there.
void NativeHandler::wake() {
  napi_call_threadsafe_function(doorbell_function_, nullptr, napi_tsfn_nonblocking);
}

void NativeHandler::onDoorbell(napi_env env, napi_value callback, void* context, void*) {
  if (env == nullptr || callback == nullptr) return;
  auto* handler = static_cast<NativeHandler*>(context);
  if (handler->has_ended_) return;
  handler->handler_->doorbell().awake();
  napi_call_function(env, js::undefined(env), callback, 0, nullptr, nullptr);
}

// leave(): the thread ends in order; it has nothing in its hands any more.
napi_value NativeHandler::leave(const napi_value*) {
  end();
  return js::undefined(env_);
}

// --- What crosses ------------------------------------------------------------------------------

// claim(slab, used, larges, wanted): as NativeServer's; without `wanted` only looks for events.
napi_value NativeHandler::claim(const napi_value* arguments) {
  bool more = false;
  if (!has_ended_ && tables_.isWritten() && js::toBoolean(env_, arguments[3])) {
    more = !handler_->claim(tables_.refill(), tables_.tickets());
  }
  const uint32_t count = tables_.write(arguments[0], arguments[1], arguments[2], more);
  tables_.setEvents(!handler_->events().empty());
  return js::number(env_, count);
}

napi_value NativeHandler::takeEvents(const napi_value*) { return tables_.takeEvents(*handler_); }

// rest(wanted): true if the next ring will call the doorbell function.
napi_value NativeHandler::rest(const napi_value* arguments) {
  if (has_ended_) return js::boolean(env_, true);
  const bool sleeps =
      handler_->rest(js::toBoolean(env_, arguments[0])) && handler_->doorbell().trySleep();
  if (!sleeps) handler_->doorbell().awake();
  return js::boolean(env_, sleeps);
}

// submit(count, slabBytes, larges, framings): hands the commands of the table to their processors.
napi_value NativeHandler::submit(const napi_value* arguments) {
  if (has_ended_) return js::undefined(env_);
  const uint32_t count = js::toUint32(env_, arguments[0]);
  Block* slab = tables_.takeReplies(js::toUint32(env_, arguments[1]));
  for (uint32_t i = 0; i < count; i++) {
    commands_.push_back(tables_.readCommand(i, slab, arguments[2], arguments[3]));
  }
  if (slab != nullptr) slab->release();
  handler_->submit(commands_);
  return js::undefined(env_);
}

// takeBack(buffer): a large frame was lent, and its request is settled.
napi_value NativeHandler::takeBack(const napi_value* arguments) {
  tables_.takeBack(arguments[0]);
  return js::undefined(env_);
}

// forget(processor, slot, generation): the connection has ended.
napi_value NativeHandler::forget(const napi_value* arguments) {
  handler_->forget({js::toUint32(env_, arguments[0]), js::toUint32(env_, arguments[1]),
                    js::toUint32(env_, arguments[2])});
  return js::undefined(env_);
}

// describe(processor, slot, generation): undefined if the connection is gone.
napi_value NativeHandler::describe(const napi_value* arguments) {
  const ChannelId channel = {js::toUint32(env_, arguments[0]), js::toUint32(env_, arguments[1]),
                             js::toUint32(env_, arguments[2])};
  const std::optional<ConnectionInfo> info = handler_->describe(channel);
  if (!info) return js::undefined(env_);
  napi_value object = js::object(env_);
  js::set(env_, object, "listener", js::number(env_, info->listener));
  js::set(env_, object, "index", js::number(env_, info->index));
  js::setEndpoints(env_, object, info->local, info->remote);
  if (info->framing) js::set(env_, object, "framing", framingObject(env_, *info->framing));
  if (info->cut != CloseReason::kNone) {
    js::set(env_, object, "cut", js::number(env_, static_cast<double>(info->cut)));
  }
  return object;
}

}  // namespace odradek
