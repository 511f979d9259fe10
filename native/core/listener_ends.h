// How far the end of each removed listener's connections has come: what the server's thread has
// decided, for the processors, which look whenever they are woken. By the listener's number, which
// is never given to another one.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace odradek {

class ListenerEnds {
 public:
  enum class Stage : uint8_t {
    kServed,
    kDraining,  // they end in order, each when what was received of it is answered
    kCut,       // what is left of them ends at once
  };

  // The server's thread, which wakes the processors then.
  void advance(uint16_t listener, Stage stage) {
    std::lock_guard lock(mutex_);
    if (stages_.size() <= listener) stages_.resize(listener + 1u, Stage::kServed);
    if (answered_.size() <= listener) answered_.resize(listener + 1u, 0);
    stages_[listener] = stage;
    version_.fetch_add(1, std::memory_order_release);
  }

  // Any thread. Changes with each advance().
  uint32_t version() const { return version_.load(std::memory_order_acquire); }

  // By listener; those that are missing are served.
  std::vector<Stage> stages() const {
    std::lock_guard lock(mutex_);
    return stages_;
  }

  // Of a listener that has been advanced: so many replies more, or less (modulo 2^32).
  void count(uint16_t listener, uint32_t replies) {
    std::lock_guard lock(mutex_);
    answered_[listener] += replies;
  }

  // Replies to its connections since they have begun to drain; exact once all of them have ended.
  uint32_t answered(uint16_t listener) const {
    std::lock_guard lock(mutex_);
    return listener < answered_.size() ? answered_[listener] : 0;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Stage> stages_;
  std::vector<uint32_t> answered_;
  std::atomic<uint32_t> version_{0};
};

}  // namespace odradek
