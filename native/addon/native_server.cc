#include "native_server.h"

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

namespace odradek {
namespace {

constexpr size_t kMaxArguments = 5;

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
      method("resize", call<&NativeServer::resize>),
      method("isResizing", call<&NativeServer::isResizing>),
      method("drain", call<&NativeServer::drain>),
      method("stop", call<&NativeServer::stop>),
      method("counters", call<&NativeServer::counters>),
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
  const bool is_whole = server->openTables(js::get(env, config, "tables"));
  if (is_whole && napi_wrap(env, self, server, finalize, nullptr, nullptr) == napi_ok) return self;
  delete server;
  return nullptr;
}

NativeServer::NativeServer(napi_env env, napi_value config)
    : env_(env), server_(readServerConfig(env, config), systemPlatform(), *this) {
  const double now_ms = js::toNumber(env, js::get(env, config, "now"));
  epoch_ns_ = static_cast<double>(systemPlatform().clock().now()) - now_ms * 1e6;
}

bool NativeServer::openTables(napi_value tables) {
  if (napi_create_reference(env_, tables, 1, &tables_) != napi_ok) return false;
  bool is_whole = true;
  const auto bytes = [&](const char* name, size_t least) {
    const js::Bytes table = js::toBytes(env_, js::get(env_, tables, name));
    is_whole = is_whole && table.length >= least;
    return table.data;
  };
  constexpr size_t kTableBytes =
      sizeof(uint32_t) * crossing::kEntriesPerTable * crossing::kFieldsPerEntry;
  request_table_ = reinterpret_cast<uint32_t*>(bytes("requests", kTableBytes));
  command_table_ = reinterpret_cast<uint32_t*>(bytes("commands", kTableBytes));
  time_table_ =
      reinterpret_cast<double*>(bytes("times", sizeof(double) * crossing::kEntriesPerTable));
  status_ =
      reinterpret_cast<uint32_t*>(bytes("status", crossing::kStatusFields * sizeof(uint32_t)));
  reply_slab_ = bytes("replies", kSlabBytes);
  return is_whole;
}

NativeServer::~NativeServer() {
  end(CloseReason::kDeadline);
  Event* event = events().takeAll();
  while (event != nullptr) delete std::exchange(event, event->next);
  large_frames_->release();
  if (tables_ != nullptr) napi_delete_reference(env_, tables_);
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
  napi_close_handle_scope(env_, scope);
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
  releaseClaimed();
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
  const js::Bytes slab = js::toBytes(env_, arguments[0]);
  if (slab.data == nullptr) {
    status_[crossing::kStatusMore] = 0;
    return js::number(env_, 0);
  }
  slab_ = slab.data;
  slab_bytes_ = static_cast<uint32_t>(slab.length);
  slab_used_ = js::toUint32(env_, arguments[1]);
  larges_ = 0;
  bool is_drained = false;
  if (next_claimed_ == claimed_.size() && !has_ended_) {
    is_resting_ = false;
    Processor* processor = server_.threadless();
    // One that has ended (its poller was lost) has nothing to be watched for.
    if (processor != nullptr && !processor->turn()) watcher_.stop();
    claimed_.clear();
    next_claimed_ = 0;
    is_drained = server_.requests().claim(claimed_, crossing::kEntriesPerTable);
  }
  uint32_t count = 0;
  Block* block = nullptr;  // frames of one block let go of it together
  uint32_t references = 0;
  while (next_claimed_ < claimed_.size()) {
    const Request& request = claimed_[next_claimed_];
    if (!writeRequest(request, count, arguments[2])) break;
    next_claimed_++;
    count++;
    if (request.block != block) {
      if (block != nullptr) block->release(references);
      block = request.block;
      references = 0;
    }
    references++;
  }
  if (block != nullptr) block->release(references);
  status_[crossing::kStatusSlabUsed] = slab_used_;
  status_[crossing::kStatusMore] = next_claimed_ < claimed_.size() || !is_drained ? 1 : 0;
  // Looked at after the claim: what was posted before a claimed request is there to be taken.
  status_[crossing::kStatusEvents] = events().empty() ? 0 : 1;
  return js::number(env_, count);
}

// False: the slab, or this claim's share of large frames, is used up.
bool NativeServer::writeRequest(const Request& request, uint32_t index, napi_value larges) {
  uint32_t* entry = request_table_ + size_t{index} * crossing::kFieldsPerEntry;
  if (request.frame_bytes >= kLargeFrameBytes) {
    if (larges_ == crossing::kLargesPerClaim) return false;
    js::set(env_, larges, larges_, largeFrame(request));
    entry[crossing::kRequestOffset] = crossing::kLargeFlag | larges_;
    larges_++;
  } else {
    if (slab_bytes_ - slab_used_ < request.frame_bytes) return false;
    std::memcpy(slab_ + slab_used_, request.block->data() + request.offset, request.frame_bytes);
    entry[crossing::kRequestOffset] = slab_used_;
    slab_used_ += request.frame_bytes;
  }
  entry[crossing::kRequestProcessor] =
      request.channel.processor | (request.is_last ? crossing::kLastFlag : 0);
  entry[crossing::kRequestSlot] = request.channel.slot;
  entry[crossing::kRequestGeneration] = request.channel.generation;
  entry[crossing::kRequestSequence] = request.sequence;
  entry[crossing::kRequestFrameBytes] = request.frame_bytes;
  entry[crossing::kRequestBodyBegin] = request.body_begin;
  entry[crossing::kRequestBodyEnd] = request.body_end;
  time_table_[index] = (static_cast<double>(request.received_at_ns) - epoch_ns_) / 1e6;
  return true;
}

// The frame as an ArrayBuffer, over the memory in which it was received where that is allowed.
napi_value NativeServer::largeFrame(const Request& request) {
  Block* block = request.block;
  std::byte* bytes = block->data() + request.offset;
  napi_value buffer = large_frames_->wrap(env_, block, bytes, request.frame_bytes);
  if (buffer != nullptr) return buffer;
  // External buffers are forbidden here (Electron): a copy.
  void* copy = nullptr;
  napi_create_arraybuffer(env_, request.frame_bytes, &copy, &buffer);
  if (copy != nullptr) std::memcpy(copy, bytes, request.frame_bytes);
  return buffer;
}

void NativeServer::releaseClaimed() {
  for (; next_claimed_ < claimed_.size(); next_claimed_++) claimed_[next_claimed_].block->release();
  claimed_.clear();
  next_claimed_ = 0;
}

// takeEvents(): every event since the last call, oldest first.
napi_value NativeServer::takeEvents(const napi_value*) {
  napi_value array = js::array(env_);
  Event* event = events().takeAll();
  for (uint32_t i = 0; event != nullptr; i++) {
    js::set(env_, array, i, eventObject(*event));
    delete std::exchange(event, event->next);
  }
  return array;
}

napi_value NativeServer::eventObject(const Event& event) {
  napi_value object = js::object(env_);
  const auto number = [&](const char* name, double value) {
    js::set(env_, object, name, js::number(env_, value));
  };
  number("kind", static_cast<double>(event.kind));
  number("processor", event.channel.processor);
  number("slot", event.channel.slot);
  number("generation", event.channel.generation);
  number("reason", static_cast<double>(event.reason));
  number("errno", event.error);
  number("listener", event.listener);
  number("count", event.count);
  number("declared", static_cast<double>(event.declared));
  js::set(env_, object, "ok", js::boolean(env_, event.ok));
  if (event.kind != Event::Kind::kOpened) return object;
  number("index", event.index);
  number("localPort", event.local.port);
  number("remotePort", event.remote.port);
  js::set(env_, object, "localAddress", js::string(env_, event.local.host));
  js::set(env_, object, "remoteAddress", js::string(env_, event.remote.host));
  return object;
}

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
  status_[crossing::kStatusTimeoutMs] = static_cast<uint32_t>(timeout_ms);
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
  const uint32_t slab_bytes = js::toUint32(env_, arguments[1]);
  // One copy of the turn's small replies; each command refers to its part.
  Block* slab = slab_bytes == 0 ? nullptr : copyOf(reply_slab_, slab_bytes);
  batches_.assign(server_.processors().size(), nullptr);
  for (uint32_t i = 0; i < count; i++) {
    Command command = readCommand(i, slab, arguments[2], arguments[3]);
    CommandBatch*& batch = batches_[command.channel.processor];
    if (batch == nullptr) batch = new CommandBatch();
    batch->commands.push_back(std::move(command));
  }
  if (slab != nullptr) slab->release();
  for (uint32_t i = 0; i < batches_.size(); i++) {
    if (batches_[i] == nullptr) continue;
    if (is_resting_) {
      obeyResting(batches_[i]);
    } else {
      server_.submit(i, batches_[i]);
    }
  }
  server_.requests().release(static_cast<int32_t>(js::toNumber(env_, arguments[4])));
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

Command NativeServer::readCommand(uint32_t index, Block* slab, napi_value larges,
                                  napi_value framings) {
  const uint32_t* entry = command_table_ + size_t{index} * crossing::kFieldsPerEntry;
  const uint32_t where = entry[crossing::kCommandOffset];
  const uint32_t length = entry[crossing::kCommandLength];
  const uint32_t flags = entry[crossing::kCommandKind] >> 16;
  Command command;
  command.reason = static_cast<CloseReason>((entry[crossing::kCommandKind] >> 8) & 0xff);
  command.discarded = (flags & crossing::kFlagDiscarded) != 0;
  command.notify = (flags & crossing::kFlagNotify) != 0;
  command.channel = {entry[crossing::kCommandProcessor], entry[crossing::kCommandSlot],
                     entry[crossing::kCommandGeneration]};
  command.sequence = entry[crossing::kCommandSequence];
  command.settles = entry[crossing::kCommandSettles];
  switch (entry[crossing::kCommandKind] & 0xff) {
    case crossing::kReply:
      if (length == 0) break;
      if (slab == nullptr) return refused(std::move(command));
      slab->retain();
      command.block = slab;
      command.offset = where;
      command.length = length;
      break;
    case crossing::kReplyLarge:
      if (!takePart(js::get(env_, larges, where), &command)) return refused(std::move(command));
      break;
    case crossing::kAccept:
      command.kind = Command::Kind::kAccept;
      break;
    case crossing::kClose:
      command.kind = Command::Kind::kClose;
      break;
    case crossing::kHold:
      command.kind = Command::Kind::kHold;
      break;
    case crossing::kSetFraming:
      command.kind = Command::Kind::kSetFraming;
      command.framing = readFraming(env_, js::get(env_, framings, length));
      if (where != crossing::kNoPart && !takePart(js::get(env_, larges, where), &command)) {
        command.reason = CloseReason::kOutOfMemory;
      }
      break;
    default:
      ODRADEK_REQUIRE(false);
  }
  return command;
}

// Memory for a reply was refused: its connection ends, the others don't notice.
Command NativeServer::refused(Command command) {
  command.reason = CloseReason::kOutOfMemory;
  command.discarded = true;
  return command;
}

Block* NativeServer::copyOf(const std::byte* bytes, size_t length) {
  Block* block = Block::make(systemMemory(), length);
  if (block != nullptr) std::memcpy(block->data(), bytes, length);
  return block;
}

// A part of a reply with memory of its own: the frame that it was received as, or a copy. False
// where memory is refused.
bool NativeServer::takePart(napi_value part, Command* command) {
  const js::Bytes bytes = js::toBytes(env_, part);
  if (bytes.data == nullptr) return false;
  Block* received = large_frames_->find(bytes.base);
  if (received != nullptr) {
    received->retain();
    command->block = received;
    command->offset = static_cast<uint32_t>(bytes.data - received->data());
  } else {
    command->block = copyOf(bytes.data, bytes.length);
    if (command->block == nullptr) return false;
  }
  command->length = static_cast<uint32_t>(bytes.length);
  return true;
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

// counters(): { bound, queued, pending, accepted, acceptErrors, processors }.
napi_value NativeServer::counters(const napi_value*) {
  napi_value object = js::object(env_);
  uint64_t accepted = 0;
  uint64_t errors = 0;
  for (const auto& acceptor : server_.acceptors()) {
    accepted += acceptor->counters().accepted.value();
    errors += acceptor->counters().errors.value();
  }
  const auto number = [&](napi_value target, const char* name, uint64_t value) {
    js::set(env_, target, name, js::number(env_, static_cast<double>(value)));
  };
  number(object, "accepted", accepted);
  number(object, "acceptErrors", errors);
  number(object, "queued", server_.requests().queued());
  number(object, "pending", server_.requests().pending());
  napi_value bound = js::array(env_);
  for (uint32_t i = 0; i < server_.bound().size(); i++) {
    napi_value address = js::object(env_);
    js::set(env_, address, "host", js::string(env_, server_.bound()[i].host));
    number(address, "port", server_.bound()[i].port);
    js::set(env_, bound, i, address);
  }
  js::set(env_, object, "bound", bound);
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
    number(to, "strayReplies", from.stray_replies.value());
    js::set(env_, processors, i, to);
  }
  js::set(env_, object, "processors", processors);
  return object;
}

}  // namespace odradek
