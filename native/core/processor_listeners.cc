// What a processor does when one of the listeners is removed: its connections end, the others go
// on.
#include <utility>

#include "bounds.h"
#include "processor.h"

namespace odradek {
namespace {

// How many requests of it were answered, in all (modulo 2^32).
uint32_t answeredOf(const Channel& channel) {
  return channel.next_sequence - channel.outstanding - channel.unanswered;
}

}  // namespace

// Any thread: the listener is not rung any more when this returns.
void Processor::forget(const RoomListener& listener) {
  std::lock_guard lock(connections_mutex_);
  std::erase(room_listeners_, &listener);
}

// Before any command is obeyed that was given after the change: what it answers counts.
void Processor::noteEnds() {
  const uint32_t version = ends_.version();
  if (version == seen_ends_) return;
  seen_ends_ = version;
  has_new_ends_ = true;
  stages_ = ends_.stages();
  for (auto& channel : slots_) {
    if (channel != nullptr) noteEnd(*channel);
  }
}

// Whoever adopts a connection after this has looked, too, or will.
void Processor::endListenersIfAsked() {
  noteEnds();
  if (!has_new_ends_) return;
  // A greeting that was given before the drain belongs to a connection that owes nothing else.
  applyCommands();
  has_new_ends_ = false;
  for (auto& channel : slots_) {
    if (channel != nullptr) endWithListener(*channel);
  }
}

ListenerEnds::Stage Processor::stageOf(uint32_t listener) const {
  return listener < stages_.size() ? stages_[listener] : ListenerEnds::Stage::kServed;
}

void Processor::noteEnd(Channel& channel) {
  if (channel.is_draining || stageOf(channel.listener) == ListenerEnds::Stage::kServed) return;
  channel.is_draining = true;
  endThrottles(channel);
  ends_.count(channel.listener, 0u - answeredOf(channel));
}

void Processor::endWithListener(Channel& channel) {
  const ListenerEnds::Stage stage = stageOf(channel.listener);
  if (stage == ListenerEnds::Stage::kServed) return;
  noteEnd(channel);
  if (stage == ListenerEnds::Stage::kCut) return cut(channel);
  finishIfDone(channel);
}

// Ends it at this moment. Requests in handlers' hands are waited for no more: see abandon().
void Processor::cut(Channel& channel) {
  if (channel.reason == CloseReason::kNone) channel.reason = CloseReason::kDeadline;
  dropInput(channel);
  closeDescriptor(channel);
  channel.life = Channel::Life::kDead;
  dropUnsent(channel);
  markDisconnected(channel);
}

// What is still with handlers is settled without an answer; what they say of it is dropped.
void Processor::abandon(Channel& channel) {
  // Threads of a pool have requests of it, though they may have said nothing about it yet.
  if (channel.outstanding > 0) channel.handler_places = UINT64_MAX;
  kept_change_ -= static_cast<int32_t>(channel.early.settles());
  memory_balance_ += channel.sizes.pop(channel.outstanding);
  channel.unanswered += std::exchange(channel.outstanding, 0);
  dropInput(channel);
  if (channel.is_draining) ends_.count(channel.listener, answeredOf(channel));
}

}  // namespace odradek
