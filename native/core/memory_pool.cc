#include "memory_pool.h"

#include <algorithm>
#include <utility>

#include "bounds.h"
#include "check.h"

namespace odradek {
int64_t MemoryPool::take(MemoryWaiter& waiter, int64_t most) {
  std::lock_guard lock(mutex_);
  if (waiter.is_waiting_) return 0;
  if (available_ <= 0 || !waiters_.empty()) {
    waiter.is_waiting_ = true;
    waiters_.push(&waiter);
    return 0;
  }
  const int64_t bytes = std::min(most, available_);
  change(-bytes);
  return bytes;
}

int64_t MemoryPool::collect(MemoryWaiter& waiter) {
  std::lock_guard lock(mutex_);
  return std::exchange(waiter.granted_, 0);
}

void MemoryPool::give(int64_t bytes) {
  if (bytes == 0) return;
  std::unique_lock lock(mutex_);
  change(bytes);
  grant();
  if (bytes > 0 && std::exchange(is_at_bottom_, false)) to_wake_.push_back(overdrawing_);
  wakeAll(std::move(lock));
}

void MemoryPool::resize(int64_t bytes) {
  std::unique_lock lock(mutex_);
  change(bytes - std::exchange(size_, bytes));
  grant();
  wakeAll(std::move(lock));
}

bool MemoryPool::askToOverdraw(MemoryWaiter& waiter) {
  std::lock_guard lock(mutex_);
  if (overdrawing_ == nullptr) overdrawing_ = &waiter;
  if (overdrawing_ == &waiter) return true;
  if (!std::exchange(waiter.is_in_line_, true)) line_.push(&waiter);
  return false;
}

int64_t MemoryPool::overdraw(const MemoryWaiter& waiter, int64_t most, int64_t deepest) {
  std::lock_guard lock(mutex_);
  ODRADEK_REQUIRE(overdrawing_ == &waiter);
  const int64_t bytes = std::min(most, available_ + deepest);
  is_at_bottom_ = bytes <= 0;
  if (is_at_bottom_) return 0;
  change(-bytes);
  return bytes;
}

void MemoryPool::passOn(MemoryWaiter& waiter) {
  std::unique_lock lock(mutex_);
  leaveLine(waiter);
  wakeAll(std::move(lock));
}

void MemoryPool::forget(MemoryWaiter& waiter) {
  std::unique_lock lock(mutex_);
  if (std::exchange(waiter.is_waiting_, false)) {
    waiters_.eraseIf([&](const MemoryWaiter* other) { return other == &waiter; });
  }
  leaveLine(waiter);
  change(std::exchange(waiter.granted_, 0));
  grant();
  wakeAll(std::move(lock));
}

int64_t MemoryPool::available() const {
  std::lock_guard lock(mutex_);
  return available_;
}

int64_t MemoryPool::size() const {
  std::lock_guard lock(mutex_);
  return size_;
}

int64_t MemoryPool::depletedNs() const {
  std::lock_guard lock(mutex_);
  return available_ > 0 ? depleted_ns_ : depleted_ns_ + clock_.now() - depleted_since_ns_;
}

// The rest is with the lock.

void MemoryPool::change(int64_t bytes) {
  const bool was_depleted = available_ <= 0;
  available_ += bytes;
  const bool is_depleted = available_ <= 0;
  if (is_depleted == was_depleted) return;
  if (is_depleted) {
    depleted_since_ns_ = clock_.now();
  } else {
    depleted_ns_ += clock_.now() - depleted_since_ns_;
  }
}

void MemoryPool::grant() {
  while (available_ > 0 && !waiters_.empty()) {
    MemoryWaiter* waiter = waiters_.pop();
    const int64_t bytes = std::min(available_, kMemoryQuantum);
    change(-bytes);
    waiter->granted_ += bytes;
    waiter->is_waiting_ = false;
    to_wake_.push_back(waiter);
  }
}

// If it has the turn to overdraw, that goes to the next.
void MemoryPool::leaveLine(MemoryWaiter& waiter) {
  if (std::exchange(waiter.is_in_line_, false)) {
    line_.eraseIf([&](const MemoryWaiter* other) { return other == &waiter; });
  }
  if (overdrawing_ != &waiter) return;
  overdrawing_ = nullptr;
  is_at_bottom_ = false;
  if (line_.empty()) return;
  overdrawing_ = line_.pop();
  overdrawing_->is_in_line_ = false;
  to_wake_.push_back(overdrawing_);
}

void MemoryPool::wakeAll(std::unique_lock<std::mutex> lock) {
  const std::vector<MemoryWaiter*> woken = std::exchange(to_wake_, {});
  lock.unlock();
  for (MemoryWaiter* waiter : woken) waiter->memoryGranted();
}

}  // namespace odradek
