// How many bytes the server holds that its peers have not taken: replies and pushes that the kernel
// had no room for. Kafka has no such bound: it has one response of each connection.
//
// Processors tell at the end of a turn what has changed in it. Where that makes too many, the one
// that has most is told, and closes those of its connections that owe most: a peer that takes what
// it asked for owes little.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace odradek {

// A processor as the count sees it.
class UnsentHolder {
 public:
  // Called by any thread, with the lock of the count: it has most of what is too much.
  virtual void tooMuchUnsent() = 0;

 protected:
  ~UnsentHolder() = default;

 private:
  friend class UnsentBytes;
  std::atomic<int64_t> unsent_{0};
};

class UnsentBytes {
 public:
  explicit UnsentBytes(int64_t most) : most_(most) {}
  UnsentBytes(const UnsentBytes&) = delete;
  UnsentBytes& operator=(const UnsentBytes&) = delete;

  void join(UnsentHolder& holder);
  // It has ended, or left: what it had is gone, or with others.
  void leave(UnsentHolder& holder);

  // So many more, or less.
  void add(UnsentHolder& holder, int64_t change);

  // Where there are too many, somebody is told.
  void check();

  // From now on there may be so many.
  void resize(int64_t most);

  int64_t total() const { return total_.load(std::memory_order_relaxed); }
  // By how many there are too many; 0 or less: there aren't.
  int64_t excess() const { return total() - most_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> most_;
  std::atomic<int64_t> total_{0};
  std::mutex mutex_;
  std::vector<UnsentHolder*> holders_;
};

}  // namespace odradek
