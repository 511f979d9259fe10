#include "request_channel.h"

#include <algorithm>
#include <utility>

#include "bounds.h"
#include "check.h"
#include "request_handler.h"

namespace odradek {

RequestChannel::~RequestChannel() { clear(); }

void RequestChannel::shut() {
  std::lock_guard lock(mutex_);
  is_shut_ = true;
}

void RequestChannel::open() {
  std::lock_guard lock(mutex_);
  is_shut_ = false;
}

void RequestChannel::clear() {
  std::lock_guard lock(mutex_);
  room_ += static_cast<int64_t>(queue_.size());
  while (!queue_.empty()) queue_.pop().block->release();
  if (hasPool()) {
    room_ += handlers_->queued();
    for (const Request& request : handlers_->takeAll()) request.block->release();
  }
  pending_ = 0;
}

uint32_t RequestChannel::acquire(PermitWaiter& waiter) {
  std::lock_guard lock(mutex_);
  if (waiter.waiting_) return 0;
  if (is_shut_ || room_ <= 0 || !waiters_.empty()) {
    waiter.waiting_ = true;
    waiters_.push(&waiter);
    return 0;
  }
  return takeRoom();
}

uint32_t RequestChannel::collectGrant(PermitWaiter& waiter) {
  std::lock_guard lock(mutex_);
  return std::exchange(waiter.granted_, 0);
}

void RequestChannel::push(std::vector<Request>& requests, uint32_t unused) {
  std::vector<PermitWaiter*> granted;
  HandlerSet::Handlers woken;
  {
    std::lock_guard lock(mutex_);
    if (hasPool())
      pushToPool(requests, woken);
    else
      for (const Request& request : requests) queue_.push(request);
    room_ += unused;
    if (unused > 0 && !waiters_.empty()) {
      grantRoom();
      granted.swap(to_wake_);
    }
  }
  for (PermitWaiter* waiter : granted) waiter->permitsGranted();
  if (requests.empty()) return;
  requests.clear();
  if (!hasPool()) return consumer_.ring();
  ring(woken);
}

// With the lock. Who was woken for a run takes what joins it, too.
void RequestChannel::pushToPool(const std::vector<Request>& requests, HandlerSet::Handlers& woken) {
  const uint32_t runs_before = handlers_->runs();
  for (const Request& request : requests) handlers_->push(request);
  if (!requests.empty()) handlers_->wake(handlers_->runs() - runs_before, woken);
}

bool RequestChannel::claim(std::vector<Request>& taken, size_t most) {
  if (hasPool()) return true;
  std::vector<PermitWaiter*> woken;
  bool is_drained = false;
  {
    std::lock_guard lock(mutex_);
    const size_t allowed = pendingRoom();
    const size_t count = std::min({most, queue_.size(), allowed});
    for (size_t i = 0; i < count; i++) taken.push_back(queue_.pop());
    pending_ += static_cast<uint32_t>(count);
    room_ += static_cast<int64_t>(count);
    starved_ = count == allowed && !queue_.empty();
    is_drained = queue_.empty() || starved_;
    if (count > 0 && !waiters_.empty()) {
      grantRoom();
      woken.swap(to_wake_);
    }
  }
  for (PermitWaiter* waiter : woken) waiter->permitsGranted();
  return is_drained;
}

void RequestChannel::release(int32_t count) {
  if (count == 0) return;
  bool was_starved = false;
  HandlerSet::Handlers woken;
  {
    std::lock_guard lock(mutex_);
    const int64_t pending = int64_t{pending_} - count;
    ODRADEK_REQUIRE(pending >= 0);
    pending_ = static_cast<uint32_t>(pending);
    was_starved = endStarving(woken);
  }
  ring(woken);
  if (was_starved && !hasPool()) consumer_.ring();
}

// With the lock, after room was made: whether a claim had found none, and who is to look again.
bool RequestChannel::endStarving(HandlerSet::Handlers& woken) {
  if (pendingRoom() == 0 || !std::exchange(starved_, false)) return false;
  if (hasPool()) handlers_->wake(handlers_->runs(), woken);
  return true;
}

// With the lock. What kept replies wait for may have come back from a lost thread: it must not wait
// for them.
uint32_t RequestChannel::pendingRoom() const {
  if (is_shut_) return 0;
  const int64_t room = int64_t{max_pending_} - pending_ - kept_;
  if (room > 0) return static_cast<uint32_t>(room);
  return pending_ == 0 ? 1 : 0;
}

uint32_t RequestChannel::takeRoom() {
  const auto permits = static_cast<uint32_t>(std::min<int64_t>(room_, kPermitQuantum));
  room_ -= permits;
  return permits;
}

void RequestChannel::grantRoom() {
  while (!is_shut_ && room_ > 0 && !waiters_.empty()) {
    PermitWaiter* waiter = waiters_.pop();
    const uint32_t permits = takeRoom();
    waiter->waiting_ = false;
    waiter->granted_ += permits;
    to_wake_.push_back(waiter);
  }
}

void RequestChannel::forget(PermitWaiter& waiter) {
  std::vector<PermitWaiter*> woken;
  {
    std::lock_guard lock(mutex_);
    waiters_.eraseIf([&](const PermitWaiter* other) { return other == &waiter; });
    // A waiter that is gone stays "waiting": acquire() gives it nothing.
    waiter.waiting_ = true;
    room_ += std::exchange(waiter.granted_, 0);
    grantRoom();
    woken.swap(to_wake_);
  }
  for (PermitWaiter* other : woken) other->permitsGranted();
}

void RequestChannel::welcome(PermitWaiter& waiter) {
  std::lock_guard lock(mutex_);
  waiter.waiting_ = false;
}

uint32_t RequestChannel::queued() const {
  std::lock_guard lock(mutex_);
  return hasPool() ? handlers_->queued() : static_cast<uint32_t>(queue_.size());
}

int64_t RequestChannel::oldestNs() const {
  std::lock_guard lock(mutex_);
  if (hasPool()) return handlers_->oldestNs();
  return queue_.empty() ? INT64_MAX : queue_.front().received_at_ns;
}

uint32_t RequestChannel::pending() const {
  std::lock_guard lock(mutex_);
  return pending_ + static_cast<uint32_t>(kept_);
}

// --- A pool of handler threads -----------------------------------------------------------------

void RequestChannel::enter(uint32_t place, std::shared_ptr<RequestHandler> handler) {
  std::lock_guard lock(mutex_);
  handlers_->enter(place, std::move(handler));
}

void RequestChannel::leave(uint32_t place, const RequestHandler& handler) {
  HandlerSet::Handlers woken;
  {
    std::lock_guard lock(mutex_);
    if (handlers_->at(place).get() != &handler) return;
    handlers_->leave(place);
    // It may have been rung for a request that another one must take now.
    handlers_->wake(handlers_->runs(), woken);
  }
  ring(woken);
}

void RequestChannel::retire(uint32_t place) {
  HandlerSet::Handlers woken;
  {
    std::lock_guard lock(mutex_);
    handlers_->retire(place);
    handlers_->wake(handlers_->runs(), woken);
  }
  ring(woken);
}

uint32_t RequestChannel::assign() {
  std::lock_guard lock(mutex_);
  return handlers_->assign();
}

void RequestChannel::unassign(uint32_t place, const ChannelId& channel) {
  std::lock_guard lock(mutex_);
  handlers_->unassign(place, channel);
}

bool RequestChannel::claimRun(uint32_t place, std::vector<Request>& taken, uint32_t* counted) {
  std::vector<PermitWaiter*> granted;
  HandlerSet::Handlers woken;
  bool is_drained = false;
  {
    std::lock_guard lock(mutex_);
    handlers_->isAwake(place);
    if (pendingRoom() > 0) handlers_->wakeIdle(place, woken);
    if (isClaimable(place)) {
      *counted = handlers_->takeRun(place, pendingRoom(), taken);
      pending_ += *counted;
      room_ += static_cast<int64_t>(taken.size());
    }
    is_drained = !isClaimable(place);
    if (!taken.empty() && !waiters_.empty()) {
      grantRoom();
      granted.swap(to_wake_);
    }
  }
  for (PermitWaiter* waiter : granted) waiter->permitsGranted();
  ring(woken);
  return is_drained;
}

bool RequestChannel::rest(uint32_t place) {
  std::lock_guard lock(mutex_);
  if (isClaimable(place)) return false;
  handlers_->sleeps(place);
  return true;
}

void RequestChannel::abstain(uint32_t place) {
  HandlerSet::Handlers woken;
  {
    std::lock_guard lock(mutex_);
    handlers_->abstains(place);
    // It may have been rung for a request that another one must take now.
    if (isClaimable(place)) handlers_->wake(handlers_->runs(), woken);
  }
  ring(woken);
}

void RequestChannel::putBack(const std::vector<Request>& requests) {
  if (requests.empty()) return;
  HandlerSet::Handlers woken;
  {
    std::lock_guard lock(mutex_);
    handlers_->putBack(requests);
    // They had given their room to others.
    room_ -= static_cast<int64_t>(requests.size());
    handlers_->wake(handlers_->runs(), woken);
  }
  ring(woken);
}

void RequestChannel::keep(int32_t count) {
  HandlerSet::Handlers woken;
  {
    std::lock_guard lock(mutex_);
    kept_ += count;
    ODRADEK_REQUIRE(kept_ >= 0);
    endStarving(woken);
  }
  ring(woken);
}

void RequestChannel::tell(uint32_t place, Event* event) {
  std::shared_ptr<RequestHandler> handler;
  {
    std::lock_guard lock(mutex_);
    if (place < handlers_->size()) handler = handlers_->at(place);
  }
  if (handler == nullptr) {
    delete event;
    return;
  }
  handler->post(event);
  handler->ring();
}

void RequestChannel::tellAll(const Event& event, uint64_t places) {
  HandlerSet::Handlers told;
  {
    std::lock_guard lock(mutex_);
    for (uint32_t place = 0; place < handlers_->size(); place++) {
      const bool is_meant = (places >> (place % 64) & 1) != 0;
      if (is_meant && handlers_->at(place) != nullptr) told.push_back(handlers_->at(place));
    }
  }
  for (const auto& handler : told) handler->post(new Event(event));
  ring(told);
}

// With the lock. Notes that a claim stopped at the bound.
bool RequestChannel::isClaimable(uint32_t place) {
  if (!handlers_->hasRequests(place)) return false;
  if (pendingRoom() > 0) return true;
  starved_ = true;
  return false;
}

void RequestChannel::ring(const HandlerSet::Handlers& handlers) {
  for (const auto& handler : handlers) handler->ring();
}

}  // namespace odradek
