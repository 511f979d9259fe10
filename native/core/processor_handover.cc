// A processor that leaves: its connections, and what is still sent to them, go to others.
//
// What keeps the order of a connection's commands while it changes hands: the gate is closed, and
// submits that went through it are awaited, before the mailbox is taken; from then on everybody who
// has commands for what this processor has opened brings them to the owner under one mutex, behind
// what was left in the mailbox, which is behind the connection itself.
#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "check.h"
#include "processor.h"

namespace odradek {

// --- Leaving and coming back -------------------------------------------------------------------

bool Processor::leave(std::vector<Processor*> heirs) {
  {
    std::lock_guard lock(connections_mutex_);
    if (!isHere()) return false;
    heirs_ = std::move(heirs);
    leave_asked_.store(true, std::memory_order_release);
  }
  wakeUp();
  return true;
}

int Processor::comeBack() {
  if (pool_ == nullptr) pool_ = SlabPool::make(memory_);
  if (pool_ == nullptr) return ENOMEM;
  slab_.use(pool_);
  now_ns_ = clock_.now();
  leave_asked_.store(false, std::memory_order_relaxed);
  requests_.welcome(*this);
  std::lock_guard lock(handovers_.mutex);
  takes_handovers_ = true;
  setGate(away_ > 0);
  has_left_.store(false, std::memory_order_release);
  return 0;
}

void Processor::closeDoors() {
  std::lock_guard lock(connections_mutex_);
  has_doors_open_ = false;
}

void Processor::openDoors() {
  std::lock_guard lock(connections_mutex_);
  has_doors_open_ = true;
}

// The last turn's end. Every list of a turn is empty but for ready_: whoever takes a channel over
// looks at it in any case.
void Processor::handOver() {
  closeDoors();
  configureNewConnections();
  // Also what others have handed over, before this one was asked to leave.
  applyCommands();
  processCompletedSends();
  processDisconnected();
  ODRADEK_ASSERT(permits_ == 0 && completed_receives_.empty() && touched_.empty());
  for (auto& channel : slots_) {
    if (channel != nullptr && channel->fd >= 0) poller_.remove(channel->fd);
  }
  if (!giveAll()) {
    obeyLastOrders();
    return closeAll(CloseReason::kReactorLost);
  }
  giveMemory();
  memory_pool_.forget(*this);
  requests_.forget(*this);
  ready_.clear();
  while (!memory_waiters_.empty()) memory_waiters_.pop();
  is_overdrawing_ = false;
  while (!room_waiters_.empty()) room_waiters_.pop();
  noteLongestWait();
  while (!lingerers_.empty()) lingerers_.pop();
  slab_.use(nullptr);
  std::exchange(pool_, nullptr)->close();
  tellLeft();
  consumer_.ring();
}

void Processor::tellLeft() {
  auto* event = new Event();
  event->kind = Event::Kind::kLeft;
  event->channel.processor = id_;
  consumer_.post(event);
}

// --- Giving ------------------------------------------------------------------------------------

// Everything, in equal shares. False: nobody is left to take it.
bool Processor::giveAll() {
  std::lock_guard lock(handovers_.mutex);
  const std::vector<Processor*> heirs = livingHeirs();
  const std::vector<Channel*> channels = inOrderOfWaiting();
  if (heirs.empty() && !channels.empty()) return false;
  takes_handovers_ = false;
  setGate(true);
  gate_.awaitEmpty([] { std::this_thread::yield(); });
  std::vector<CommandBatch*> parcels(heirs.size(), nullptr);
  size_t next = 0;
  for (Channel* channel : channels) {
    CommandBatch*& parcel = parcels[next];
    if (parcel == nullptr) {
      parcel = new CommandBatch();
      parcel->handover = new Handover();
    }
    Throttle throttle;
    if (isThrottled(channel->mute)) counters_.throttled.subtract(1);
    while (throttles_.takeOf(channel->place.token(), &throttle)) {
      parcel->handover->throttles.emplace_back(channel->id, throttle);
    }
    parcel->handover->channels.push_back(giveAway(*channel, heirs[next]));
    next = (next + 1) % heirs.size();
  }
  // Before the heirs tell: it isn't there twice.
  tellUnsent();
  for (size_t i = 0; i < heirs.size(); i++) {
    if (parcels[i] != nullptr) heirs[i]->push(parcels[i]);
  }
  has_left_.store(true, std::memory_order_release);
  CommandBatch* batch = commands_.takeAll();
  while (batch != nullptr) bring(std::exchange(batch, batch->next));
  return true;
}

std::vector<Processor*> Processor::livingHeirs() const {
  std::vector<Processor*> heirs;
  for (Processor* heir : heirs_) {
    if (heir->takes_handovers_) heirs.push_back(heir);
  }
  return heirs;
}

// Those that wait for room come first, longest waiting first: they wait on in that order.
std::vector<Channel*> Processor::inOrderOfWaiting() {
  std::vector<Channel*> channels;
  for (size_t i = 0; i < room_waiters_.size(); i++) {
    Channel* channel = findRoomWaiter(room_waiters_.at(i));
    if (channel != nullptr) channels.push_back(channel);
  }
  for (auto& channel : slots_) {
    if (channel != nullptr && !channel->waits_for_room) channels.push_back(channel.get());
  }
  return channels;
}

std::unique_ptr<Channel> Processor::giveAway(Channel& channel, Processor* heir) {
  const uint32_t slot = channel.place.slot;
  if (channel.waits_for_room) counters_.waiting_for_room.subtract(1);
  // The heir asks for memory itself.
  if (channel.waits_for_memory) startClock(channel);
  leaveMemoryWaiters(channel);
  channel.in_ready = false;
  unsent_change_ -= static_cast<int64_t>(channel.send.unsentBytes());
  counters_.connections.subtract(1);
  generations_[slot]++;
  if (channel.origin == nullptr) {
    // The slot is part of its id, and not used again while anybody may know it by that.
    channel.origin = this;
    away_++;
  } else {
    adopted_.erase(channel.id);
    free_slots_.push_back(slot);
  }
  handovers_.owners[channel.id] = heir;
  return std::move(slots_[slot]);
}

// --- Commands, wherever their connection is -----------------------------------------------------

void Processor::submit(CommandBatch* batch) {
  if (gate_.enter()) {
    push(batch);
    gate_.leave();
    return;
  }
  std::lock_guard lock(handovers_.mutex);
  bring(batch);
}

void Processor::push(CommandBatch* batch) {
  if (has_ended_.load(std::memory_order_relaxed)) return dropBatch(batch);
  commands_.push(batch);
  wakeUp();
}

// With handovers_.mutex held: brings each command to whoever has its connection.
void Processor::bring(CommandBatch* batch) {
  ODRADEK_REQUIRE(batch->handover == nullptr);
  Processor* last = nullptr;
  CommandBatch* parcel = nullptr;
  for (Command& command : batch->commands) {
    const auto found = handovers_.owners.find(command.channel);
    Processor* owner = found == handovers_.owners.end() ? this : found->second;
    if (owner == this && has_left_.load(std::memory_order_relaxed)) {
      // Its connection has ended since.
      if (command.block != nullptr) command.block->release();
      continue;
    }
    if (owner != last) {
      if (parcel != nullptr) last->push(parcel);
      parcel = new CommandBatch();
      last = owner;
    }
    parcel->commands.push_back(std::move(command));
  }
  if (parcel != nullptr) last->push(parcel);
  delete batch;
}

// --- Taking ------------------------------------------------------------------------------------

void Processor::adoptAll(CommandBatch& batch) {
  const std::unique_ptr<Handover> handover(std::exchange(batch.handover, nullptr));
  const size_t lingerers = lingerers_.size();
  for (auto& channel : handover->channels) adopt(std::move(channel));
  for (auto& [id, throttle] : handover->throttles) {
    const Channel& channel = *find(id);
    throttle.token = channel.place.token();
    // It may have ended in the moment of its arrival.
    if (isThrottled(channel.mute)) {
      throttles_.add(throttle);
    } else {
      tellThrottleEnded(channel, throttle);
    }
  }
  if (lingerers_.size() > lingerers) sortLingerers();
}

void Processor::adopt(std::unique_ptr<Channel> arrived) {
  Channel* channel = takeSlot(std::move(arrived));
  // There are fewer descriptors and pending requests than slots.
  ODRADEK_REQUIRE(channel != nullptr);
  adopted_.emplace(channel->id, channel);
  unsent_change_ += static_cast<int64_t>(channel->send.unsentBytes());
  if (channel->waits_for_room) {
    counters_.waiting_for_room.add(1);
    // Its time begins anew.
    room_waiters_.push({channel->place, now_ns_});
  }
  if (channel->life == Channel::Life::kLingering) lingerers_.push(channel->place);
  if (isThrottled(channel->mute)) counters_.throttled.add(1);
  clockGoesOn();
  // What its last processor was about to do with it is done here.
  markReady(*channel);
  if (!is_ending_) endWithListener(*channel);
  if (channel->fd < 0 || is_ending_) return;
  // Tells at once what holds now, so nothing that happened on the way is missed.
  const int error = poller_.add(channel->fd, channel->place.token());
  if (error != 0) return fail(*channel, CloseReason::kIoError, error);
  if (!channel->is_writable) awaitRoom(*channel);
}

void Processor::sortLingerers() {
  std::vector<Place> places;
  while (!lingerers_.empty()) places.push_back(lingerers_.pop());
  std::erase_if(places, [this](const Place& place) { return find(place) == nullptr; });
  std::stable_sort(places.begin(), places.end(), [this](const Place& one, const Place& other) {
    return find(one)->since_ns < find(other)->since_ns;
  });
  for (const Place& place : places) lingerers_.push(place);
}

// The loop ends: who leaves from now on finds another heir.
void Processor::refuseHandovers() {
  is_ending_ = true;
  std::lock_guard lock(handovers_.mutex);
  takes_handovers_ = false;
}

// --- The end of a connection that was handed over ----------------------------------------------

void Processor::forgetAdopted(const Channel& channel) {
  adopted_.erase(channel.id);
  Processor& origin = *channel.origin;
  std::lock_guard lock(handovers_.mutex);
  handovers_.owners.erase(channel.id);
  origin.returned_slots_.push_back(channel.id.slot);
  origin.has_returned_slots_.store(true, std::memory_order_relaxed);
  origin.away_--;
  // Commands go straight to its mailbox again.
  if (origin.away_ == 0 && origin.isHere()) origin.setGate(false);
}

void Processor::setGate(bool is_closed) {
  if (is_closed == std::exchange(is_gate_closed_, is_closed)) return;
  if (is_closed) {
    gate_.close();
  } else {
    gate_.open();
  }
}

void Processor::collectReturnedSlots() {
  std::lock_guard lock(handovers_.mutex);
  free_slots_.insert(free_slots_.end(), returned_slots_.begin(), returned_slots_.end());
  returned_slots_.clear();
  has_returned_slots_.store(false, std::memory_order_relaxed);
}

}  // namespace odradek
