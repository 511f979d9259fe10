// Kafka's MemoryPool (SimpleMemoryPool): how many bytes of requests the server may have in its
// hands: received, on their way to a handler or with it, and not settled.
//
// Processors take bytes from it for what they read, and give them back as requests are settled. Who
// gets none is a waiter, and what comes back goes to those that wait, longest waiting first. Beyond
// Kafka, whose pool may be overdrawn by a request of each processor, the bound is the pool and one
// frame: while nothing is left, one frame at a time that is here in part may go on to its end, or
// many of them would wait for each other for ever.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "clock.h"
#include "ring.h"

namespace odradek {

// More than there can be.
inline constexpr int64_t kUnlimitedBytes = int64_t{1} << 60;

// A processor as the pool sees it.
class MemoryWaiter {
 public:
  // Called by any thread, with the pool's lock released: bytes, or the turn to overdraw, are there.
  virtual void memoryGranted() = 0;

 protected:
  ~MemoryWaiter() = default;

 private:
  friend class MemoryPool;
  bool is_waiting_ = false;
  bool is_in_line_ = false;
  int64_t granted_ = 0;
};

class MemoryPool {
 public:
  MemoryPool(int64_t bytes, Clock& clock) : clock_(clock), size_(bytes), available_(bytes) {}
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  // Up to `most` bytes. With none left, or while others wait, it gets 0 and is a waiter.
  int64_t take(MemoryWaiter& waiter, int64_t most);

  // Takes what a waiter was granted.
  int64_t collect(MemoryWaiter& waiter);

  // Bytes come back; below 0: were taken without asking.
  void give(int64_t bytes);

  // Asks for the turn to overdraw: true if it has it, else it is in line for it.
  bool askToOverdraw(MemoryWaiter& waiter);

  // For whoever's turn it is: up to `most` bytes, but never so that more than `deepest` are
  // overdrawn. It gets 0 there, and is told when bytes have come back.
  int64_t overdraw(const MemoryWaiter& waiter, int64_t most, int64_t deepest);

  // The turn is over, or not wanted any more.
  void passOn(MemoryWaiter& waiter);

  // A processor that ends or leaves takes no more.
  void forget(MemoryWaiter& waiter);

  // From now on there are so many bytes: what is taken already stays taken.
  void resize(int64_t bytes);

  // Below 0: overdrawn.
  int64_t available() const;
  int64_t size() const;
  // Kafka's MemoryPoolDepletedTimeTotal: for how long nothing was left, in all.
  int64_t depletedNs() const;

 private:
  void change(int64_t bytes);
  void grant();
  void leaveLine(MemoryWaiter& waiter);
  void wakeAll(std::unique_lock<std::mutex> lock);

  Clock& clock_;
  mutable std::mutex mutex_;
  int64_t size_;
  int64_t available_;
  int64_t depleted_ns_ = 0;
  int64_t depleted_since_ns_ = 0;
  Ring<MemoryWaiter*> waiters_;
  // Whose turn it is to overdraw, and who comes after it.
  MemoryWaiter* overdrawing_ = nullptr;
  bool is_at_bottom_ = false;
  Ring<MemoryWaiter*> line_;
  // To be told once the lock is released.
  std::vector<MemoryWaiter*> to_wake_;
};

}  // namespace odradek
