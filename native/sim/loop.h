// One thread of the server: an acceptor's or a processor's loop in a fiber, over a poller that
// sleeps until something is there for it.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "../test/fake_kernel.h"
#include "stage.h"

namespace odradek::sim {

// The fake poller with the plan's faults.
class FaultyPoller final : public Poller {
 public:
  explicit FaultyPoller(Stage& stage);

  int open() override { return poller_.open(); }
  int add(int fd, uint64_t token) override;
  int awaitRoom(int fd, uint64_t token) override { return poller_.awaitRoom(fd, token); }
  void remove(int fd) override;
  int wait(PollEvent* events, int capacity, int64_t timeout_ns) override;
  void wake() override { poller_.wake(); }
  int descriptor() const override { return -1; }

  // Whether a sleeping wait() would return now.
  bool isDue() const;
  // For a processor without a thread: whether its descriptor is readable.
  bool hasEvents() const { return !was_lost_ && poller_.isDue(); }
  bool isAsleep() const { return is_asleep_; }
  // When a sleeping wait() returns at the latest; INT64_MAX: only if it is woken.
  int64_t deadline() const { return deadline_ns_; }
  void mayBeLost() { may_be_lost_ = true; }
  bool wasLost() const { return was_lost_; }

 private:
  Stage& stage_;
  test::FakePoller poller_;
  bool is_asleep_ = false;
  bool may_be_lost_ = false;
  bool was_lost_ = false;
  int64_t deadline_ns_ = 0;
};

class Loop {
 public:
  Loop(const char* name, uint32_t number, Stage& stage, FaultyPoller& poller,
       std::function<bool()> turn)
      : name_(name), number_(number), stage_(stage), poller_(poller), turn_(std::move(turn)) {}

  const char* name() const { return name_; }
  uint32_t number() const { return number_; }
  bool hasEnded() const { return has_ended_; }
  bool isRunnable() const { return !hasEnded() && (!poller_.isAsleep() || poller_.isDue()); }
  // When it wakes by itself.
  int64_t deadline() const { return hasEnded() ? INT64_MAX : poller_.deadline(); }
  // Goes on until the loop gives way or has ended.
  void resume() {
    stage_.running = &fiber_;
    fiber_.resume();
    stage_.running = nullptr;
  }
  // Another thread for a loop that has ended.
  void restart() { has_ended_ = false; }

 private:
  void run() {
    while (true) {
      while (turn_()) {
      }
      has_ended_ = true;
      fiber_.suspend();
    }
  }

  const char* const name_;
  const uint32_t number_;
  Stage& stage_;
  FaultyPoller& poller_;
  const std::function<bool()> turn_;  // of an acceptor or a processor
  bool has_ended_ = false;
  test::Fiber fiber_{[this] { run(); }};
};

}  // namespace odradek::sim
