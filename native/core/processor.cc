// The loop and its seven steps. What happens to one connection within a step is in
// processor_channel.cc.
#include "processor.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "check.h"

namespace odradek {
namespace {

// A thread of the pool takes a connection's requests together, and they stay in their order.
void bringTogether(std::vector<Request>& requests) {
  std::ranges::stable_sort(requests, {}, &Request::channel);
}

}  // namespace

Processor::Processor(uint32_t id, Seams seams, RequestChannel& requests, MemoryPool& memory_pool,
                     UnsentBytes& unsent, Handovers& handovers, ConnectionQuotas& quotas,
                     ListenerEnds& ends, Consumer& consumer, ProcessorOptions options)
    : id_(id),
      options_(options),
      poller_(seams.poller),
      sockets_(seams.sockets),
      clock_(seams.clock),
      memory_(seams.memory),
      requests_(requests),
      memory_pool_(memory_pool),
      unsent_(unsent),
      quotas_(quotas),
      ends_(ends),
      consumer_(consumer),
      pool_(SlabPool::make(seams.memory)),
      slab_(pool_),
      timeouts_(options.timeouts),
      shortest_timeout_ns_(timeouts_.shortest()),
      handovers_(handovers) {
  ODRADEK_REQUIRE(pool_ != nullptr);
  unsent_.join(*this);
}

Processor::~Processor() {
  unsent_.leave(*this);
  is_ending_ = true;
  CommandBatch* batch = commands_.takeAll();
  while (batch != nullptr) {
    if (batch->handover != nullptr) adoptAll(*batch);
    dropBatch(std::exchange(batch, batch->next));
  }
  while (!new_connections_.empty()) refuse(new_connections_.pop());
  for (auto& channel : slots_) {
    if (channel != nullptr) closeDescriptor(*channel);
  }
  slots_.clear();
  for (Request& request : completed_receives_) request.block->release();
  slab_.retire();
  if (pool_ != nullptr) pool_->close();
}

int Processor::open() {
  now_ns_ = clock_.now();
  return poller_.open();
}

bool Processor::turn() {
  if (!isHere()) return false;
  counters_.turns.add(1);
  // Before anything is looked at; a loop that sleeps in its poll has done so there.
  if (options_.sleeps_elsewhere) {
    wokeUp();
    now_ns_ = clock_.now();
  }
  drainIfAsked();
  endListenersIfAsked();
  configureNewConnections();
  processNewResponses();
  poll();
  processCompletedReceives();
  processCompletedSends();
  processDisconnected();
  closeExcessConnections();
  balanceMemory();
  if (options_.sleeps_elsewhere) noteLongestWait();
  tellUnsent();
  const CloseReason stop = stop_asked_.load(std::memory_order_acquire);
  if (lost_ == 0 && stop == CloseReason::kNone) {
    if (!leave_asked_.load(std::memory_order_acquire)) return true;
    handOver();
    return false;
  }
  obeyLastOrders();
  closeAll(lost_ != 0 ? CloseReason::kReactorLost : stop);
  return false;
}

// --- The steps ---------------------------------------------------------------------------------

void Processor::configureNewConnections() {
  takeNewConnections();
  for (NewConnection& connection : configuring_) configure(connection);
  configuring_.clear();
}

void Processor::processNewResponses() {
  applyCommands();
  // What the kernel took at once is complete: its connections are read in this turn already.
  processCompletedSends();
  giveMemory();
  serveWaiters();
  serveMemoryWaiters();
  // The loop may sleep next.
  noteLongestWait();
}

void Processor::poll() {
  int count = busyPoll();
  if (count == 0) count = waitForEvents();
  if (count < 0 && count != -EINTR) {
    lost_ = -count;
    return;
  }
  noteSeen(count);
  now_ns_ = clock_.now();
  if (memory_.tidyDueNs() <= now_ns_) memory_.tidy(now_ns_);
  endDueThrottles();
  for (int i = 0; i < count; i++) noteEvent(events_[static_cast<size_t>(i)]);
  serveReady();
}

void Processor::processCompletedReceives() {
  for (Channel* channel : receivers_) {
    channel->in_completed_receives = false;
    if (channel->max_in_flight == 1) {
      completed_receives_[channel->last_receive].is_last = true;
    }
    if (channel->mute != MuteState::kNotMuted) continue;
    if (channel->outstanding < channel->max_in_flight) continue;
    channel->mute = MuteState::kMuted;
    channel->on(MuteEvent::kRequestReceived);
    // It has no use for memory now, and asks again.
    leaveMemoryWaiters(*channel);
  }
  receivers_.clear();
  if (std::exchange(is_mixed_, false)) bringTogether(completed_receives_);
  const uint32_t unused = std::exchange(permits_, 0);
  if (completed_receives_.empty() && unused == 0) return;
  counters_.requests.add(completed_receives_.size());
  requests_.push(completed_receives_, unused);
}

void Processor::processCompletedSends() {
  for (Channel* channel : completed_sends_) {
    channel->in_completed_sends = false;
    const bool has_place = channel->outstanding < channel->max_in_flight;
    if (has_place && isResponsePending(channel->mute)) {
      channel->on(MuteEvent::kResponseSent);
      if (channel->mute == MuteState::kMuted) channel->mute = MuteState::kNotMuted;
    }
    startClock(*channel);
    // Where it was not muted, what is held may be a broken frame, to be judged now.
    if (canRead(*channel) || (channel->is_halted && canFrame(*channel))) markReady(*channel);
    finishIfDone(*channel);
  }
  completed_sends_.clear();
}

void Processor::processDisconnected() {
  for (Channel* channel : disconnected_) {
    abandon(*channel);
    reportClosed(*channel);
    freeSlot(*channel);
  }
  disconnected_.clear();
  tellKept();
  if (!std::exchange(events_posted_, false)) return;
  consumer_.ring();
}

// Those that outstayed their linger, whose peers are waited for no more, or that are too many.
void Processor::closeExcessConnections() {
  if (quotas_.hasExcess()) evictExcess();
  shedIfAsked();
  takeTimeouts();
  closeExpired();
  closeIdleIfAsked();
  if (lingerers_.empty()) return;
  const int64_t now_ns = clock_.now();
  while (Channel* channel = firstLingerer()) {
    if (channel->since_ns + kLingerNs > now_ns) break;
    lingerers_.pop();
    if (channel->life == Channel::Life::kLingering) closeSocket(*channel);
  }
}

// Spins before the loop sleeps: for whoever pays CPU time for the price of a wake-up.
int Processor::busyPoll() {
  if (options_.busy_poll_ns == 0 || pollTimeout() == 0) return 0;
  const int64_t until_ns = clock_.now() + options_.busy_poll_ns;
  int count = 0;
  do {
    count = poller_.wait(events_.data(), kEventsPerPoll, 0);
    counters_.polls.add(1);
  } while (count == 0 && !doorbell_.isRung() && clock_.now() < until_ns);
  return count;
}

int Processor::waitForEvents() {
  int64_t timeout_ns = 0;
  const bool sleeps = !options_.sleeps_elsewhere && rest(&timeout_ns);
  const int count = poller_.wait(events_.data(), kEventsPerPoll, sleeps ? timeout_ns : 0);
  if (!options_.sleeps_elsewhere) wokeUp();
  counters_.polls.add(1);
  return count;
}

bool Processor::rest(int64_t* timeout_ns) {
  *timeout_ns = pollTimeout();
  if (*timeout_ns == 0 || !doorbell_.trySleep()) return false;
  idle_.begin(clock_.now());
  return true;
}

void Processor::wokeUp() {
  doorbell_.awake();
  if (idle_.isRunning()) idle_.end(clock_.now());
}

void Processor::obey(CommandBatch* batch) {
  commands_.push(batch);
  turn();
}

// --- Between turns -----------------------------------------------------------------------------

void Processor::applyCommands() {
  CommandBatch* batch = commands_.takeAll();
  // Clocks begin with what is given now, and the thread may not have run since its last poll.
  if (batch != nullptr) now_ns_ = clock_.now();
  noteEnds();
  while (batch != nullptr) {
    if (batch->handover != nullptr) adoptAll(*batch);
    for (Command& command : batch->commands) apply(command);
    CommandBatch* next = batch->next;
    delete batch;
    batch = next;
  }
  tellKept();
  // One gathered write for each connection, whatever number of replies it got.
  for (Channel* channel : touched_) {
    channel->in_touched = false;
    flush(*channel);
  }
  touched_.clear();
}

// Early replies that were kept, or that left, in this turn.
void Processor::tellKept() {
  if (kept_change_ != 0) requests_.keep(std::exchange(kept_change_, 0));
}

int64_t Processor::pollTimeout() {
  // Whatever this turn has begun goes on before the loop may sleep.
  const bool is_owing = permits_ > 0 || !completed_receives_.empty() || events_posted_ ||
                        memory_granted_.load(std::memory_order_relaxed);
  if (is_owing || !ready_.empty() || !disconnected_.empty() || sweep_at_ns_ != 0) return 0;
  const Channel* lingerer = firstLingerer();
  const int64_t linger_ns = lingerer == nullptr ? INT64_MAX : lingerer->since_ns + kLingerNs;
  const int64_t due_ns =
      std::min({linger_ns, sweep_due_ns_, memory_.tidyDueNs(), throttles_.dueNs()});
  if (due_ns == INT64_MAX) return -1;
  return std::max<int64_t>(due_ns - clock_.now(), 0);
}

// The next whose time is over, without those that ended earlier.
Channel* Processor::firstLingerer() {
  while (!lingerers_.empty()) {
    Channel* channel = find(lingerers_.front());
    if (channel != nullptr) return channel;
    lingerers_.pop();
  }
  return nullptr;
}

void Processor::noteEvent(const PollEvent& event) {
  Channel* channel =
      find(Place{static_cast<uint32_t>(event.token), static_cast<uint32_t>(event.token >> 32)});
  if (channel == nullptr) return;  // closed since the kernel noted it
  if (event.readable || event.peer_closed || event.failed) channel->is_readable = true;
  if (event.writable) channel->is_writable = true;
  if (event.peer_closed || event.failed || event.urgent) channel->reads_on = true;
  if (event.failed) channel->has_failed = true;
  markReady(*channel);
}

void Processor::serveReady() {
  serving_.swap(ready_);
  for (const Place& place : serving_) {
    Channel* channel = find(place);
    if (channel == nullptr) continue;
    channel->in_ready = false;
    serve(*channel);
  }
  serving_.clear();
}

void Processor::serveWaiters() {
  if (permits_granted_.load(std::memory_order_relaxed)) {
    permits_granted_.store(false, std::memory_order_relaxed);
    permits_ += requests_.collectGrant(*this);
  }
  serving_waiters_ = true;
  while (!room_waiters_.empty()) {
    if (permits_ == 0) permits_ = requests_.acquire(*this);
    if (permits_ == 0) break;
    Channel* channel = findRoomWaiter(room_waiters_.pop());
    if (channel == nullptr) continue;
    leaveRoomWaiters(*channel);
    cutHeldFrames(*channel);
    if (canRead(*channel)) markReady(*channel);
    finishIfDone(*channel);
  }
  serving_waiters_ = false;
}

// For whoever looks from outside. Those that wait no more leave the head of their line.
void Processor::noteLongestWait() {
  const bool nobody_waits = room_waiters_.empty() && memory_waiters_.empty() && !is_overdrawing_;
  if (nobody_waits && waitsSinceNs() == INT64_MAX) return;
  int64_t since_ns = INT64_MAX;
  while (!room_waiters_.empty() && findRoomWaiter(room_waiters_.front()) == nullptr) {
    room_waiters_.pop();
  }
  while (!memory_waiters_.empty() && findMemoryWaiter(memory_waiters_.front()) == nullptr) {
    memory_waiters_.pop();
  }
  if (!room_waiters_.empty()) since_ns = room_waiters_.front().since_ns;
  if (!memory_waiters_.empty()) since_ns = std::min(since_ns, memory_waiters_.front().since_ns);
  if (is_overdrawing_ && findMemoryWaiter(overdrawing_) != nullptr) {
    since_ns = std::min(since_ns, overdrawing_.since_ns);
  }
  waits_since_ns_.store(since_ns, std::memory_order_relaxed);
}

void Processor::drainIfAsked() {
  if (draining_ || !drain_asked_.load(std::memory_order_acquire)) return;
  // A greeting that was given before the drain belongs to a connection that owes nothing else.
  applyCommands();
  draining_ = true;
  for (auto& channel : slots_) {
    if (channel == nullptr) continue;
    endThrottles(*channel);
    finishIfDone(*channel);
  }
}

// What was asked for before stop() may have come after this turn looked for it: replies that were
// given still leave, as far as the kernel takes them at once.
void Processor::obeyLastOrders() {
  refuseHandovers();
  drainIfAsked();
  endListenersIfAsked();
  applyCommands();
  processCompletedSends();
}

// --- From other threads ------------------------------------------------------------------------

Processor::Offer Processor::offer(NewConnection& connection, RoomListener& listener) {
  {
    std::lock_guard lock(connections_mutex_);
    if (!has_doors_open_) return Offer::kGone;
    if (new_connections_.size() >= kNewConnectionQueue) {
      for (const RoomListener* known : room_listeners_) {
        if (known == &listener) return Offer::kFull;
      }
      room_listeners_.push_back(&listener);
      return Offer::kFull;
    }
    new_connections_.push(std::move(connection));
  }
  wakeUp();
  return Offer::kTaken;
}

void Processor::takeNewConnections() {
  std::lock_guard lock(connections_mutex_);
  if (new_connections_.empty()) return;
  // Their clocks begin here, and this may be the first turn.
  now_ns_ = clock_.now();
  while (!new_connections_.empty()) configuring_.push_back(new_connections_.pop());
  ringRoomListeners();
}

// With the lock: one that was forgotten is not rung any more.
void Processor::ringRoomListeners() {
  for (RoomListener* listener : room_listeners_) listener->roomForConnections();
  room_listeners_.clear();
}

void Processor::dropBatch(CommandBatch* batch) {
  for (Command& command : batch->commands) {
    if (command.block != nullptr) command.block->release();
  }
  delete batch;
}

void Processor::drain() {
  drain_asked_.store(true, std::memory_order_release);
  wakeUp();
}

void Processor::stop(CloseReason reason) {
  stop_asked_.store(reason, std::memory_order_release);
  wakeUp();
}

void Processor::permitsGranted() {
  permits_granted_.store(true, std::memory_order_relaxed);
  wakeUp();
}

void Processor::wakeUp() {
  if (!doorbell_.ring()) return;
  wakes_.fetch_add(1, std::memory_order_relaxed);
  poller_.wake();
}

// --- Slots and the end -------------------------------------------------------------------------

Channel* Processor::find(const Place& place) {
  if (place.slot >= slots_.size() || generations_[place.slot] != place.generation) return nullptr;
  return slots_[place.slot].get();
}

Channel* Processor::find(const ChannelId& id) {
  if (id.processor == id_) {
    Channel* channel = find(Place{id.slot, id.generation});
    if (channel != nullptr) return channel;
  }
  if (adopted_.empty()) return nullptr;
  const auto found = adopted_.find(id);
  return found == adopted_.end() ? nullptr : found->second;
}

// Null where there is no channel (memory was refused), or no slot.
Channel* Processor::takeSlot(std::unique_ptr<Channel> channel) {
  if (channel == nullptr) return nullptr;
  uint32_t slot = 0;
  if (has_returned_slots_.load(std::memory_order_relaxed)) collectReturnedSlots();
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
  } else {
    if (slots_.size() == kMaxSlots) return nullptr;
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
    generations_.push_back(0);
  }
  channel->place = {slot, generations_[slot]};
  counters_.connections.add(1);
  slots_[slot] = std::move(channel);
  return slots_[slot].get();
}

void Processor::freeSlot(const Channel& channel) {
  if (channel.handler_place != HandlerSet::kNoPlace) {
    requests_.unassign(channel.handler_place, channel.id);
  }
  if (requests_.hasPool()) directoryOf(channel).remove(channel.id);
  if (channel.origin != nullptr) forgetAdopted(channel);
  const uint32_t slot = channel.place.slot;
  generations_[slot]++;
  slots_[slot].reset();
  free_slots_.push_back(slot);
}

void Processor::post(Event* event) {
  consumer_.post(event);
  events_posted_ = true;
}

// To the thread that gave a command.
void Processor::postTo(uint32_t origin, Event* event) {
  if (origin == 0)
    post(event);
  else
    requests_.tell(origin - 1, event);
}

// Who meets it only now asks the directory.
void Processor::postCut(const Channel& channel) {
  directoryOf(channel).cut(channel.id, channel.reason);
  postToAll(channel, Event::Kind::kCut);
}

// To everybody who may have a request of it.
void Processor::postToAll(const Channel& channel, Event::Kind kind) {
  Event event;
  event.kind = kind;
  event.channel = channel.id;
  event.reason = channel.reason;
  if (requests_.hasPool()) requests_.tellAll(event, UINT64_MAX);
  post(new Event(event));
}

void Processor::closeAll(CloseReason reason) {
  for (Request& request : completed_receives_) request.block->release();
  completed_receives_.clear();
  receivers_.clear();
  completed_sends_.clear();
  disconnected_.clear();
  for (auto& channel : slots_) {
    if (channel == nullptr) continue;
    if (channel->reason == CloseReason::kNone) channel->reason = reason;
    if (isThrottled(channel->mute)) endThrottle(*channel);
    closeDescriptor(*channel);
    unsent_change_ -= static_cast<int64_t>(channel->send.unsentBytes());
    abandon(*channel);
    reportClosed(*channel);
    freeSlot(*channel);
  }
  throttles_ = {};
  tellKept();
  noteLongestWait();
  tellUnsent();
  giveMemory();
  memory_pool_.forget(*this);
  requests_.forget(*this);
  requests_.push(completed_receives_, std::exchange(permits_, 0));
  if (lost_ != 0) {
    auto* event = new Event();
    event->kind = Event::Kind::kFatal;
    event->error = lost_;
    event->channel.processor = id_;
    post(event);
  }
  bool was_leaving = false;
  {
    std::lock_guard lock(connections_mutex_);
    has_ended_.store(true, std::memory_order_release);
    has_doors_open_ = false;
    was_leaving = leave_asked_.load(std::memory_order_relaxed);
    while (!new_connections_.empty()) refuse(new_connections_.pop());
    ringRoomListeners();
  }
  if (was_leaving) tellLeft();
  memory_.letGo();
  consumer_.ring();
}

// Counted first: whoever hears of the end finds it in the counters.
void Processor::reportClosed(Channel& channel) {
  counters_.closed.add(1);
  counters_.connections.subtract(1);
  auto* event = new Event();
  event->kind = Event::Kind::kClosed;
  event->channel = channel.id;
  event->reason = channel.reason;
  if (channel.isBroken()) {
    event->declared = channel.detail;
  } else {
    event->error = static_cast<int>(channel.detail);
  }
  event->count = channel.unanswered;
  if (requests_.hasPool() && channel.handler_places != 0) {
    requests_.tellAll(*event, channel.handler_places);
  }
  post(event);
}

}  // namespace odradek
