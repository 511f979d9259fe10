#include "tables.h"

#include <cstring>
#include <limits>
#include <utility>

#include "../core/check.h"
#include "../platform/system_memory.h"
#include "../platform/system_platform.h"
#include "config.h"
#include "crossing.h"

namespace odradek {
namespace {

Block* copyOf(const std::byte* bytes, size_t length) {
  Block* block = Block::make(systemMemory(), length);
  if (block != nullptr) std::memcpy(block->data(), bytes, length);
  return block;
}

}  // namespace

// The quickest of a few readings tells the two clocks' distance best.
Tables::Tables(napi_env env, napi_value now) : env_(env) {
  constexpr int kReadings = 5;
  Clock& clock = systemPlatform().clock();
  int64_t quickest_ns = std::numeric_limits<int64_t>::max();
  for (int i = 0; i < kReadings; i++) {
    const int64_t before_ns = clock.now();
    const double now_ms = js::toNumber(env, js::call(env, now));
    const int64_t took_ns = clock.now() - before_ns;
    if (took_ns >= quickest_ns) continue;
    quickest_ns = took_ns;
    epoch_ns_ = static_cast<double>(before_ns) + static_cast<double>(took_ns) / 2 - now_ms * 1e6;
  }
}

bool Tables::open(napi_value tables) {
  if (napi_create_reference(env_, tables, 1, &tables_) != napi_ok) return false;
  bool is_whole = true;
  const auto bytes = [&](const char* name, size_t least) {
    const js::Bytes table = js::toBytes(env_, js::get(env_, tables, name));
    is_whole = is_whole && table.length >= least;
    return table;
  };
  constexpr size_t kTableBytes =
      sizeof(uint32_t) * crossing::kEntriesPerTable * crossing::kFieldsPerEntry;
  request_table_ = reinterpret_cast<uint32_t*>(bytes("requests", kTableBytes).data);
  command_table_ = reinterpret_cast<uint32_t*>(bytes("commands", kTableBytes).data);
  answer_table_ = reinterpret_cast<double*>(
      bytes("answers", sizeof(double) * crossing::kEntriesPerTable * crossing::kAnswerFields).data);
  time_table_ =
      reinterpret_cast<double*>(bytes("times", sizeof(double) * crossing::kEntriesPerTable).data);
  status_ =
      reinterpret_cast<uint32_t*>(bytes("status", crossing::kStatusFields * sizeof(uint32_t)).data);
  reply_slab_ = bytes("replies", kSlabBytes).data;
  const js::Bytes marks = bytes("marks", 0);
  if (marks.length == 0) return is_whole;
  marks_ = reinterpret_cast<uint8_t*>(marks.data);
  mark_count_ = static_cast<uint32_t>(marks.length);
  ticket_table_ = reinterpret_cast<uint32_t*>(
      bytes("tickets", sizeof(uint32_t) * crossing::kEntriesPerTable).data);
  return is_whole;
}

Tables::~Tables() {
  dropClaimed();
  large_frames_->release();
  if (tables_ != nullptr) napi_delete_reference(env_, tables_);
}

// --- Requests and events to JavaScript ---------------------------------------------------------

std::vector<Request>& Tables::refill() {
  claimed_.clear();
  tickets_.clear();
  next_claimed_ = 0;
  return claimed_;
}

void Tables::dropClaimed() {
  for (; next_claimed_ < claimed_.size(); next_claimed_++) claimed_[next_claimed_].block->release();
  refill();
}

uint32_t Tables::write(napi_value slab, napi_value used, napi_value larges, bool more) {
  const js::Bytes memory = js::toBytes(env_, slab);
  slab_ = memory.data;
  slab_bytes_ = static_cast<uint32_t>(memory.length);
  slab_used_ = js::toUint32(env_, used);
  larges_ = 0;
  if (slab_ == nullptr) {
    status_[crossing::kStatusMore] = 0;
    return 0;
  }
  uint32_t count = 0;
  Block* block = nullptr;  // frames of one block let go of it together
  uint32_t references = 0;
  while (next_claimed_ < claimed_.size()) {
    if (count == crossing::kEntriesPerTable) break;
    if (!writeRequest(next_claimed_, count, larges)) break;
    const Request& request = claimed_[next_claimed_++];
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
  status_[crossing::kStatusMore] = more || !isWritten() ? 1 : 0;
  return count;
}

void Tables::setEvents(bool wait) { status_[crossing::kStatusEvents] = wait ? 1 : 0; }

void Tables::setTimeoutMs(uint32_t timeout_ms) { status_[crossing::kStatusTimeoutMs] = timeout_ms; }

// False: the slab, or this claim's share of large frames, is used up.
bool Tables::writeRequest(size_t claimed, uint32_t index, napi_value larges) {
  const Request& request = claimed_[claimed];
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
  entry[crossing::kRequestProcessor] = request.channel.processor |
                                       uint32_t{request.framing_epoch} << crossing::kEpochShift |
                                       (request.is_last ? crossing::kLastFlag : 0);
  entry[crossing::kRequestSlot] = request.channel.slot;
  entry[crossing::kRequestGeneration] = request.channel.generation;
  entry[crossing::kRequestSequence] = request.sequence;
  entry[crossing::kRequestFrameBytes] = request.frame_bytes;
  entry[crossing::kRequestBodyBegin] = request.body_begin;
  entry[crossing::kRequestBodyEnd] = request.body_end;
  time_table_[index] = toMs(request.received_at_ns);
  if (ticket_table_ != nullptr) ticket_table_[index] = tickets_[claimed];
  return true;
}

// The frame as an ArrayBuffer, over the memory in which it was received where that is allowed.
napi_value Tables::largeFrame(const Request& request) {
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

napi_value Tables::takeEvents(Consumer& consumer) {
  napi_value array = js::array(env_);
  Event* event = consumer.events().takeAll();
  for (uint32_t i = 0; event != nullptr; i++) {
    js::set(env_, array, i, eventObject(*event));
    delete std::exchange(event, event->next);
  }
  return array;
}

napi_value Tables::eventObject(const Event& event) {
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
  js::setEndpoints(env_, object, event.local, event.remote);
  return object;
}

// --- Commands from JavaScript ------------------------------------------------------------------

Block* Tables::takeReplies(uint32_t bytes) const {
  return bytes == 0 ? nullptr : copyOf(reply_slab_, bytes);
}

Command Tables::readCommand(uint32_t index, Block* slab, napi_value larges, napi_value framings) {
  const uint32_t* entry = command_table_ + size_t{index} * crossing::kFieldsPerEntry;
  const uint32_t where = entry[crossing::kCommandOffset];
  const uint32_t length = entry[crossing::kCommandLength];
  const uint32_t flags = entry[crossing::kCommandKind] >> 16;
  Command command;
  command.reason = static_cast<CloseReason>((entry[crossing::kCommandKind] >> 8) & 0xff);
  command.discarded = (flags & crossing::kFlagDiscarded) != 0;
  command.notify = (flags & crossing::kFlagNotify) != 0;
  if ((flags & crossing::kFlagPush) != 0) command.kind = Command::Kind::kPush;
  command.channel = {entry[crossing::kCommandProcessor], entry[crossing::kCommandSlot],
                     entry[crossing::kCommandGeneration]};
  command.sequence = entry[crossing::kCommandSequence];
  command.settles = entry[crossing::kCommandSettles];
  const double* answers = answer_table_ + size_t{index} * crossing::kAnswerFields;
  command.answers.count = static_cast<uint32_t>(answers[crossing::kAnswerCount]);
  if (command.answers.count > 0) {
    command.answers.received_at_ns = toNs(answers[crossing::kAnswerReceived]);
    command.answers.given_at_ns = toNs(answers[crossing::kAnswerGiven]);
  }
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
    case crossing::kThrottle:
      command.kind = Command::Kind::kThrottle;
      command.length = length;
      break;
    default:
      ODRADEK_REQUIRE(false);
  }
  return command;
}

// Memory for a reply was refused: its connection ends, the others don't notice.
Command Tables::refused(Command command) {
  command.reason = CloseReason::kOutOfMemory;
  command.discarded = true;
  command.answers = {};
  return command;
}

// A part of a reply with memory of its own: the frame that it was received as, or a copy. False
// where memory is refused.
bool Tables::takePart(napi_value part, Command* command) {
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

}  // namespace odradek
