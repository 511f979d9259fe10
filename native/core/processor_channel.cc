// What a processor does with one connection: configure, read and frame, write and settle, close.
#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "check.h"
#include "processor.h"

namespace odradek {
namespace {

CloseReason reasonOf(int error) {
  switch (error) {
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
      return CloseReason::kPeerReset;
    default:
      return CloseReason::kIoError;
  }
}

// Bytes to send, as a command gives them.
Segment segmentOf(const Command& command) {
  return {
      .block = command.block,
      .offset = command.offset,
      .length = command.length,
      .settles = command.settles,
      .sequence = command.sequence,
      .origin = command.origin,
      .notify = command.notify,
      .discarded = command.discarded,
      .is_push = command.kind == Command::Kind::kPush,
      .answers = command.answers,
  };
}

}  // namespace

// --- Opening -----------------------------------------------------------------------------------

void Processor::configure(NewConnection& connection) {
  const bool is_late = draining_ || stageOf(connection.listener) != ListenerEnds::Stage::kServed;
  Channel* channel =
      is_late ? nullptr : takeSlot(std::unique_ptr<Channel>(new (std::nothrow) Channel()));
  if (channel == nullptr) {
    refuse(connection);
    return;
  }
  channel->id = {id_, channel->place.slot, channel->place.generation};
  const ChannelConfig& config = *connection.config;
  channel->fd = connection.fd;
  channel->account = connection.admission.account;
  channel->listener = connection.admission.listener;
  channel->framing = config.framing;
  channel->max_in_flight = config.max_in_flight;
  channel->mute = config.waits_for_accept ? MuteState::kMuted : MuteState::kNotMuted;
  auto* event = new (std::nothrow) Event();
  if (event == nullptr || poller_.add(connection.fd, channel->place.token()) != 0) {
    delete event;
    refuse(connection);
    counters_.connections.subtract(1);
    freeSlot(*channel);
    return;
  }
  startClock(*channel);
  counters_.opened.add(1);
  event->kind = Event::Kind::kOpened;
  event->channel = channel->id;
  event->listener = connection.listener;
  // Kafka's ServerConnectionId index: non-negative, wraps.
  event->index = next_index_;
  next_index_ = (next_index_ + 1) & 0x7fffffff;
  event->local = std::move(connection.local);
  event->remote = std::move(connection.remote);
  if (requests_.hasPool()) {
    directory_.add(channel->id, {.listener = event->listener,
                                 .index = event->index,
                                 .local = event->local,
                                 .remote = event->remote,
                                 .framing = {},
                                 .cut = {}});
  }
  post(event);
}

// The service never hears of it.
void Processor::refuse(const NewConnection& connection) {
  sockets_.close(connection.fd);
  if (connection.admission.isGiven()) quotas_.release(connection.admission);
  counters_.closed.add(1);
}

// --- Commands ----------------------------------------------------------------------------------

void Processor::apply(Command& command) {
  Channel* channel = find(command.channel);
  if (channel == nullptr) {
    if (command.block != nullptr) command.block->release();
    return;
  }
  if (command.origin != 0) channel->handler_places |= uint64_t{1} << ((command.origin - 1) % 64);
  switch (command.kind) {
    case Command::Kind::kReply:
      applyReply(*channel, command);
      break;
    case Command::Kind::kAccept:
      if (channel->mute == MuteState::kMuted) channel->mute = MuteState::kNotMuted;
      startClock(*channel);
      markReady(*channel);
      break;
    case Command::Kind::kClose:
      applyClose(*channel, command);
      break;
    case Command::Kind::kHold:
      applyHold(*channel, command);
      break;
    case Command::Kind::kSetFraming:
      applySetFraming(*channel, command);
      break;
    case Command::Kind::kPush:
      applyPush(*channel, command);
      break;
    case Command::Kind::kThrottle:
      applyThrottle(*channel, command);
      break;
  }
}

void Processor::applyReply(Channel& channel, Command& command) {
  const Segment segment = segmentOf(command);
  if (command.settles == 0 && !command.is_part) {
    return giveReply(channel, segment, command.reason);
  }
  const uint32_t ahead = command.sequence - channel.next_reply;
  const uint32_t awaited = channel.next_sequence - channel.next_reply;
  // Threads that run several requests of a connection at once answer them as they are done.
  const bool may_be_early = requests_.hasPool() || channel.max_in_flight > 1;
  // A reply to a request that was settled before, or out of its order, is our own bug.
  const bool is_stray = ahead >= awaited || command.settles > awaited - ahead ||
                        (ahead > 0 && !may_be_early) ||
                        (may_be_early && channel.early.settles(command.sequence, command.settles));
  ODRADEK_ASSERT(!is_stray);
  if (is_stray) {
    counters_.stray_replies.add(1);
    if (command.block != nullptr) command.block->release();
    return;
  }
  if (ahead > 0) {
    kept_change_ += static_cast<int32_t>(segment.settles);
    return channel.early.keep({segment, command.reason});
  }
  giveReply(channel, segment, command.reason);
  EarlyReply next;
  while (channel.early.take(channel.next_reply, &next)) {
    kept_change_ -= static_cast<int32_t>(next.segment.settles);
    giveReply(channel, next.segment, next.reason);
  }
}

// Replies whose turn has not come were not given yet: it waits for none of them.
void Processor::applyPush(Channel& channel, const Command& command) {
  giveReply(channel, segmentOf(command), command.reason);
}

// Its turn has come.
void Processor::giveReply(Channel& channel, const Segment& segment, CloseReason reason) {
  channel.next_reply += segment.settles;
  if (!channel.isLive() || channel.is_cut) return settle(channel, segment, false);
  if (channel.send.empty()) startClock(channel);
  channel.send.push(takenUp(segment));
  unsent_change_ += segment.length;
  if (reason != CloseReason::kNone) {
    beginClose(channel, reason);
    // Other threads may have begun what stands behind it, and don't know: nobody waits for that.
    channel.is_cut = requests_.hasPool();
    if (channel.is_cut && channel.outstanding > segment.settles) postCut(channel);
  }
  if (channel.in_touched) return;
  channel.in_touched = true;
  touched_.push_back(&channel);
}

void Processor::applyClose(Channel& channel, const Command& command) {
  // Also where the connection was closing already, and waited for answers.
  if (channel.isLive()) channel.is_cut = true;
  beginClose(channel, command.reason);
  // Who gave the command knows; whoever else has a request of it is told.
  if (requests_.hasPool() && channel.outstanding > 0) postCut(channel);
  finishIfDone(channel);
}

// Frames may cross while a handler asks for another framing: it has to know where they end. All
// that were completed are in the request channel, and the event comes behind them.
void Processor::applyHold(Channel& channel, const Command& command) {
  channel.is_held = true;
  auto* event = new Event();
  event->kind = Event::Kind::kHeld;
  event->channel = channel.id;
  event->count = channel.next_sequence;
  postTo(command.origin, event);
}

void Processor::applySetFraming(Channel& channel, Command& command) {
  channel.is_held = false;
  startClock(channel);
  // The withdrawn requests are the last that crossed; those before them keep their places.
  ODRADEK_REQUIRE(command.settles <= channel.outstanding);
  ODRADEK_ASSERT(command.settles == 0 ||
                 command.sequence + command.settles == channel.next_sequence);
  memory_balance_ += channel.sizes.popBack(command.settles);
  channel.outstanding -= command.settles;
  channel.next_sequence -= command.settles;
  if (channel.life == Channel::Life::kOpen) {
    channel.own_framing = std::make_unique<Framing>(command.framing);
    channel.framing = channel.own_framing.get();
    channel.framing_epoch++;
    if (requests_.hasPool()) directoryOf(channel).setFraming(channel.id, *channel.framing);
    reframe(channel, command);
  } else {
    // The connection has ended meanwhile: these were received, and get no answer.
    channel.unanswered += command.settles;
    // Gone from next_sequence as well, by which answers are counted.
    if (channel.is_draining) ends_.count(channel.listener, command.settles);
    if (channel.life == Channel::Life::kDead && channel.outstanding == 0) markDisconnected(channel);
  }
  if (channel.outstanding < channel.max_in_flight) markCompletedSend(channel);
  if (command.block != nullptr) command.block->release();
}

void Processor::reframe(Channel& channel, const Command& command) {
  const std::byte* bytes =
      command.block == nullptr ? nullptr : command.block->data() + command.offset;
  const bool is_refused = command.reason != CloseReason::kNone ||
                          !channel.receive.unread(memory_, bytes, command.length);
  channel.is_halted = !channel.receive.empty();
  if (is_refused) return beginClose(channel, CloseReason::kOutOfMemory);
  memory_balance_ -= command.length;
  // Nothing else will look at what is held if no request is in work.
  markReady(channel);
}

// --- Reading -----------------------------------------------------------------------------------

void Processor::serve(Channel& channel) {
  if (channel.life == Channel::Life::kLingering) discardInput(channel);
  if (!channel.isLive()) return;
  if (channel.has_failed && !canRead(channel)) {
    // Nobody will read the error out of it: a muted connection notices here, once.
    channel.has_failed = false;
    const int error = sockets_.takeError(channel.fd);
    if (error != 0) return fail(channel, reasonOf(error), error);
  }
  if (channel.is_writable && !channel.send.empty()) flush(channel);
  if (channel.is_halted && canFrame(channel)) cutHeldFrames(channel);
  if (canRead(channel)) read(channel);
  finishIfDone(channel);
}

bool Processor::canFrame(const Channel& channel) const {
  return channel.life == Channel::Life::kOpen && !channel.isMuted() && !channel.waits_for_room &&
         !channel.is_held;
}

bool Processor::canRead(const Channel& channel) const {
  return channel.is_readable && !channel.is_ended && !channel.is_halted &&
         !channel.waits_for_memory && !isDraining(channel) && canFrame(channel);
}

void Processor::read(Channel& channel) {
  size_t budget = kReadBytesPerTurn;
  while (canRead(channel) && budget > 0) readOnce(channel, &budget);
  if (canRead(channel)) markReady(channel);
  // What was overdrawn for its frame is for nobody else.
  if (isOverdrawing(channel)) giveMemory();
}

void Processor::readOnce(Channel& channel, size_t* budget) {
  const int64_t memory = findMemory(channel);
  if (memory <= 0) return awaitMemory(channel);
  Receive::Target target;
  const size_t held = channel.receive.heldBytes();
  if (!channel.receive.prepare(slab_, memory_, &target)) {
    return framed(channel, Receive::Outcome::kRefused, held);
  }
  target.shorten(static_cast<size_t>(memory));
  const ssize_t count = sockets_.read(channel.fd, target.parts, target.count);
  counters_.reads.add(1);
  if (count <= 0) {
    channel.receive.readNothing();
    if (count == 0) return inputEnded(channel);
    if (count == -EINTR) return;
    if (count == -EAGAIN || count == -EWOULDBLOCK) {
      channel.is_readable = false;
      return;
    }
    return fail(channel, reasonOf(static_cast<int>(-count)), static_cast<int>(-count));
  }
  const auto bytes = static_cast<size_t>(count);
  counters_.bytes_read.add(bytes);
  // While something waits to be sent, that has the clock.
  if (channel.receive.empty() && channel.send.empty()) startClock(channel);
  *budget -= bytes < *budget ? bytes : *budget;
  // A short read emptied the kernel's buffer, and what comes later is a new event. Unless an end
  // was announced already, or urgent data, at which a read stops short: then reads go on.
  if (bytes < target.total_bytes && !channel.reads_on) channel.is_readable = false;
  current_ = &channel;
  framed(channel, channel.receive.received(target, bytes, *channel.framing, slab_, memory_, *this),
         held);
}

void Processor::inputEnded(Channel& channel) {
  channel.is_ended = true;
  channel.is_readable = false;
}

void Processor::cutHeldFrames(Channel& channel) {
  if (!canFrame(channel)) return;
  current_ = &channel;
  const size_t held = channel.receive.heldBytes();
  framed(channel, channel.receive.cutHeld(*channel.framing, memory_, *this), held);
}

void Processor::framed(Channel& channel, Receive::Outcome outcome, size_t held_before) {
  // What is held now, and was completed, beyond what was held before; less, where memory was
  // refused.
  const size_t has = channel.receive.heldBytes() + std::exchange(completed_bytes_, 0);
  memory_balance_ -= static_cast<int64_t>(has) - static_cast<int64_t>(held_before);
  channel.is_halted = outcome == Receive::Outcome::kHalted;
  if (outcome == Receive::Outcome::kBroken && channel.outstanding > 0) {
    // Judged once the frames before are settled: one of them may change the framing.
    channel.is_halted = true;
  } else if (outcome == Receive::Outcome::kBroken) {
    channel.detail = broken_.declared;
    beginClose(channel, broken_.reason);
  } else if (outcome == Receive::Outcome::kRefused) {
    beginClose(channel, CloseReason::kOutOfMemory);
  }
}

// Where threads share a connection's requests, nobody but the core sees how many are in flight.
uint32_t Processor::framesPerBatch(const Channel& channel) const {
  const bool is_shared = requests_.hasPool() && !requests_.hasAffinity();
  if (is_shared && channel.max_in_flight > 1) return channel.max_in_flight;
  return std::max<uint32_t>(kFramesPerBatch, channel.max_in_flight);
}

bool Processor::admit() {
  Channel& channel = *current_;
  if (channel.outstanding >= framesPerBatch(channel)) return false;
  const bool is_last_in_line = !serving_waiters_ && !room_waiters_.empty();
  if (permits_ == 0 && !is_last_in_line) permits_ = requests_.acquire(*this);
  if (permits_ > 0 && !is_last_in_line) {
    permits_--;
    return true;
  }
  dropStaleWaiters();
  channel.waits_for_room = true;
  counters_.waiting_for_room.add(1);
  room_waiters_.push({channel.place, now_ns_});
  return false;
}

void Processor::complete(Block* block, size_t offset, const Cut& cut) {
  Channel& channel = *current_;
  if (requests_.hasAffinity() && channel.handler_place == HandlerSet::kNoPlace) {
    channel.handler_place = requests_.assign();
  }
  if (requests_.hasPool() && channel.in_completed_receives) {
    is_mixed_ = is_mixed_ || channel.last_receive + 1 != completed_receives_.size();
  }
  channel.last_receive = static_cast<uint32_t>(completed_receives_.size());
  completed_receives_.push_back({
      .channel = channel.id,
      .sequence = channel.next_sequence,
      .block = block,
      .offset = static_cast<uint32_t>(offset),
      .frame_bytes = static_cast<uint32_t>(cut.frame_bytes),
      .body_begin = static_cast<uint32_t>(cut.body_begin),
      .body_end = static_cast<uint32_t>(cut.body_end),
      .framing_epoch = channel.framing_epoch,
      .place = channel.handler_place,
      .received_at_ns = now_ns_,
  });
  channel.sizes.push(static_cast<uint32_t>(cut.frame_bytes));
  completed_bytes_ += cut.frame_bytes;
  channel.next_sequence++;
  channel.outstanding++;
  if (channel.in_completed_receives) return;
  channel.in_completed_receives = true;
  receivers_.push_back(&channel);
}

// Connections that ended while they waited leave their places behind; they may be many.
bool Processor::isMostlyStale(size_t places, const Counter& waiting) {
  constexpr size_t kWorthIt = 64;
  return places >= kWorthIt + 2 * waiting.value();
}

void Processor::dropStaleWaiters() {
  if (!isMostlyStale(room_waiters_.size(), counters_.waiting_for_room)) return;
  room_waiters_.eraseIf([this](const Waiter& waiter) { return findRoomWaiter(waiter) == nullptr; });
}

Channel* Processor::findRoomWaiter(const Waiter& waiter) {
  Channel* channel = find(waiter.place);
  return channel != nullptr && channel->waits_for_room ? channel : nullptr;
}

void Processor::leaveRoomWaiters(Channel& channel) {
  if (!channel.waits_for_room) return;
  channel.waits_for_room = false;
  startClock(channel);
  counters_.waiting_for_room.subtract(1);
}

// --- Writing -----------------------------------------------------------------------------------

void Processor::flush(Channel& channel) {
  if (!channel.isLive()) return;
  Send::Outcome outcome = Send::Outcome::kFull;
  if (channel.is_writable) {
    uint64_t calls = 0;
    uint64_t bytes = 0;
    outcome = channel.send.flush(sockets_, channel.fd, &calls, &bytes);
    counters_.writes.add(calls);
    counters_.bytes_written.add(bytes);
    unsent_change_ -= static_cast<int64_t>(bytes);
    noteTaken(channel, bytes, outcome == Send::Outcome::kFull);
  }
  settleSent(channel);
  switch (outcome) {
    case Send::Outcome::kDone:
      markCompletedSend(channel);
      break;
    case Send::Outcome::kFull:
      channel.send.detach(memory_);
      if (channel.is_writable) awaitRoom(channel);
      break;
    case Send::Outcome::kBudget:
      markReady(channel);
      break;
    case Send::Outcome::kFailed:
      fail(channel, reasonOf(channel.send.error()), channel.send.error());
      break;
  }
}

void Processor::awaitRoom(Channel& channel) {
  channel.is_writable = false;
  // Nothing is polled any more, and what was adopted last is not watched.
  if (is_ending_) return;
  const int error = poller_.awaitRoom(channel.fd, channel.place.token());
  if (error != 0) fail(channel, CloseReason::kIoError, error);
}

// Takes a segment up: from here on it is being sent.
Segment Processor::takenUp(const Segment& segment) {
  Segment taken = segment;
  if (taken.answers.count > 0) {
    times_.response_queue.record(now_ns_ - taken.answers.given_at_ns, taken.answers.count);
    taken.answers.given_at_ns = now_ns_;
  }
  return taken;
}

// The clock is read once for all that one write has completed.
void Processor::settleSent(Channel& channel) {
  Segment segment;
  int64_t sent_at_ns = 0;
  while (channel.send.popSettled(&segment)) {
    const AnswerTimes& answers = segment.answers;
    if (answers.count > 0) {
      if (sent_at_ns == 0) sent_at_ns = clock_.now();
      times_.response_send.record(sent_at_ns - answers.given_at_ns, answers.count);
      times_.total.record(sent_at_ns - answers.received_at_ns, answers.count);
    }
    settle(channel, segment, true);
  }
}

void Processor::settle(Channel& channel, const Segment& segment, bool sent) {
  ODRADEK_REQUIRE(segment.settles <= channel.outstanding);
  memory_balance_ += channel.sizes.pop(segment.settles);
  channel.outstanding -= segment.settles;
  if (sent && !segment.discarded) {
    counters_.responses.add(segment.settles);
  } else {
    channel.unanswered += segment.settles;
  }
  if (segment.block != nullptr) segment.block->release();
  if (segment.notify) {
    auto* event = new Event();
    event->kind = segment.is_push ? Event::Kind::kPushSent : Event::Kind::kSent;
    event->channel = channel.id;
    event->reason = channel.reason;
    event->count = segment.sequence;
    event->ok = sent && !segment.discarded;
    postTo(segment.origin, event);
  }
  if (channel.life == Channel::Life::kDead && channel.outstanding == 0) markDisconnected(channel);
}

// --- Closing -----------------------------------------------------------------------------------

void Processor::beginClose(Channel& channel, CloseReason reason) {
  if (channel.life != Channel::Life::kOpen) return;
  channel.life = Channel::Life::kClosing;
  channel.reason = reason;
  endThrottles(channel);
  dropInput(channel);
  finishIfDone(channel);
}

void Processor::dropInput(Channel& channel) {
  memory_balance_ += static_cast<int64_t>(channel.receive.heldBytes());
  channel.receive.drop();
  channel.is_halted = false;
  leaveRoomWaiters(channel);
  leaveMemoryWaiters(channel);
}

// Takes the next step of an end, once everything that was received is settled.
void Processor::finishIfDone(Channel& channel) {
  if (!channel.isLive() || !channel.send.empty()) return;
  if (channel.outstanding > 0 && !channel.is_cut) return;
  if (channel.life == Channel::Life::kClosing) return shutDown(channel);
  if (channel.is_halted || channel.waits_for_room || channel.is_held) return;
  if (channel.is_ended) {
    channel.reason =
        channel.receive.empty() ? CloseReason::kPeerClosed : CloseReason::kTruncatedFrame;
    closeSocket(channel);
  } else if (isDraining(channel)) {
    beginClose(channel,
               channel.is_draining ? CloseReason::kListenerRemoved : CloseReason::kServerClosed);
  }
}

void Processor::shutDown(Channel& channel) {
  if (channel.is_ended || sockets_.shutdownWrite(channel.fd) != 0) return closeSocket(channel);
  channel.life = Channel::Life::kLingering;
  channel.lingered_bytes = 0;
  channel.since_ns = clock_.now();
  lingerers_.push(channel.place);
  // Input that is already here can't announce itself again.
  channel.is_readable = true;
  discardInput(channel);
}

void Processor::discardInput(Channel& channel) {
  // Not the slab: an orderly end must not depend on memory.
  std::byte bin[kMinReadBytes];
  while (channel.is_readable) {
    if (channel.lingered_bytes >= kLingerBytes) break;
    const iovec part = {bin, sizeof(bin)};
    const ssize_t count = sockets_.read(channel.fd, &part, 1);
    counters_.reads.add(1);
    if (count == -EINTR) continue;
    if (count == -EAGAIN || count == -EWOULDBLOCK) {
      channel.is_readable = false;
      return;
    }
    if (count <= 0) break;
    channel.lingered_bytes += static_cast<uint32_t>(count);
  }
  if (channel.is_readable) closeSocket(channel);
}

// The connection is of no use any more: what was received is still handled, for its effects.
void Processor::fail(Channel& channel, CloseReason reason, int error) {
  if (channel.reason == CloseReason::kNone) channel.reason = reason;
  if (!channel.isBroken()) channel.detail = error;
  closeSocket(channel);
  dropUnsent(channel);
  if (channel.outstanding > 0) postToAll(channel, Event::Kind::kReset);
}

void Processor::closeSocket(Channel& channel) {
  dropInput(channel);
  endThrottles(channel);
  closeDescriptor(channel);
  channel.life = Channel::Life::kDead;
  if (channel.outstanding == 0) markDisconnected(channel);
}

// With it goes its place among the connections that there may be.
void Processor::closeDescriptor(Channel& channel) {
  if (channel.fd < 0) return;
  sockets_.close(std::exchange(channel.fd, -1));
  if (!channel.admission().isGiven()) return;
  quotas_.release(channel.admission(), channel.is_excess);
  channel.account = Admission::kNoAccount;
}

// --- The lists of a turn -----------------------------------------------------------------------

void Processor::markReady(Channel& channel) {
  if (channel.in_ready) return;
  channel.in_ready = true;
  ready_.push_back(channel.place);
}

void Processor::markCompletedSend(Channel& channel) {
  if (channel.in_completed_sends) return;
  channel.in_completed_sends = true;
  completed_sends_.push_back(&channel);
}

void Processor::markDisconnected(Channel& channel) {
  if (channel.in_disconnected) return;
  channel.in_disconnected = true;
  disconnected_.push_back(&channel);
}

}  // namespace odradek
