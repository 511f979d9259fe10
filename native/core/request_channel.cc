#include "request_channel.h"

#include <algorithm>
#include <utility>

#include "bounds.h"
#include "check.h"

namespace odradek {

RequestChannel::~RequestChannel() { clear(); }

void RequestChannel::clear() {
  std::lock_guard lock(mutex_);
  room_ += static_cast<uint32_t>(queue_.size());
  while (!queue_.empty()) queue_.pop().block->release();
  pending_ = 0;
}

uint32_t RequestChannel::acquire(PermitWaiter& waiter) {
  std::lock_guard lock(mutex_);
  if (waiter.waiting_) return 0;
  if (room_ == 0 || !waiters_.empty()) {
    waiter.waiting_ = true;
    waiters_.push(&waiter);
    return 0;
  }
  const uint32_t permits = std::min(room_, kPermitQuantum);
  room_ -= permits;
  return permits;
}

uint32_t RequestChannel::collectGrant(PermitWaiter& waiter) {
  std::lock_guard lock(mutex_);
  return std::exchange(waiter.granted_, 0);
}

void RequestChannel::push(std::vector<Request>& requests, uint32_t unused) {
  std::vector<PermitWaiter*> woken;
  {
    std::lock_guard lock(mutex_);
    for (Request& request : requests) queue_.push(request);
    room_ += unused;
    if (unused > 0 && !waiters_.empty()) {
      grantRoom();
      woken.swap(to_wake_);
    }
  }
  for (PermitWaiter* waiter : woken) waiter->permitsGranted();
  if (requests.empty()) return;
  requests.clear();
  consumer_.ring();
}

bool RequestChannel::claim(std::vector<Request>& taken, size_t most) {
  std::vector<PermitWaiter*> woken;
  bool is_drained = false;
  {
    std::lock_guard lock(mutex_);
    const size_t allowed = pending_ < max_pending_ ? max_pending_ - pending_ : 0;
    const size_t count = std::min({most, queue_.size(), allowed});
    for (size_t i = 0; i < count; i++) taken.push_back(queue_.pop());
    pending_ += static_cast<uint32_t>(count);
    room_ += static_cast<uint32_t>(count);
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
  {
    std::lock_guard lock(mutex_);
    const int64_t pending = int64_t{pending_} - count;
    ODRADEK_REQUIRE(pending >= 0);
    pending_ = static_cast<uint32_t>(pending);
    was_starved = pending_ < max_pending_ && std::exchange(starved_, false);
  }
  if (was_starved) consumer_.ring();
}

void RequestChannel::grantRoom() {
  while (room_ > 0 && !waiters_.empty()) {
    PermitWaiter* waiter = waiters_.pop();
    const uint32_t permits = std::min(room_, kPermitQuantum);
    room_ -= permits;
    waiter->waiting_ = false;
    waiter->granted_ += permits;
    to_wake_.push_back(waiter);
  }
}

void RequestChannel::forget(PermitWaiter& waiter) {
  std::vector<PermitWaiter*> woken;
  {
    std::lock_guard lock(mutex_);
    const size_t count = waiters_.size();
    for (size_t i = 0; i < count; i++) {
      PermitWaiter* other = waiters_.pop();
      if (other != &waiter) waiters_.push(other);
    }
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
  return static_cast<uint32_t>(queue_.size());
}

uint32_t RequestChannel::pending() const {
  std::lock_guard lock(mutex_);
  return pending_;
}

}  // namespace odradek
