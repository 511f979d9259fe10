// How a sleeping thread is woken, for an exploration: the eventfd of a poller, or the calls of a
// threadsafe function. Tells its reader nothing of the writer's memory: whatever the kernel does,
// the doorbell must not lean on it. Also keeps account of who may wake: the one ring that found the
// consumer asleep, once.
#pragma once

#include <cstdint>
#include <functional>

#include "explored_atomic.h"

namespace odradek::test {

class ExploredWake {
 public:
  enum class Kind : uint8_t {
    kFlag,   // any number of wakes are one
    kCalls,  // each is a call of its own
  };

  explicit ExploredWake(Kind kind) : kind_(kind) {}

  // --- Producers ---------------------------------------------------------------------------------
  // What ring() returned. True: this producer wakes.
  void rang(bool is_to_wake) {
    if (!is_to_wake) return;
    Explorer& explorer = Explorer::current();
    if (sleeper_.value() != kAnnounced) {
      explorer.fail("woken though it doesn't sleep, or was woken already");
    }
    sleeper_.set(kTold);
    explorer.step();
    pending_.set(kind_ == Kind::kFlag ? 1 : pending_.value() + 1);
    explorer.observe(0);
    explorer.note("wakes");
  }

  // Something else that ends a sleep: a socket is ready.
  void interrupt() {
    Explorer::current().step();
    interrupts_.set(1);
    Explorer::current().note("a socket is ready");
  }

  // --- The consumer ------------------------------------------------------------------------------
  void announced() { sleeper_.set(kAnnounced); }
  void isAwake() { sleeper_.set(kAwakeOrRung); }

  // A wait without a time-out. False: the run is over.
  bool sleep() {
    Explorer& explorer = Explorer::current();
    explorer.note("sleeps");
    explorer.step(&is_ending_);
    if (!explorer.isRunning()) return false;
    take();
    explorer.note("is woken");
    return true;
  }

  // A wait that doesn't.
  void look() {
    Explorer::current().step();
    take();
    Explorer::current().note("polls");
  }

 private:
  enum : uint64_t { kAwakeOrRung, kAnnounced, kTold };

  void take() {
    interrupts_.set(0);
    const uint64_t pending = pending_.value();
    pending_.set(kind_ == Kind::kFlag || pending == 0 ? 0 : pending - 1);
    Explorer::current().observe(0);
  }

  const Kind kind_;
  ExploredNumber pending_{"wakes pending"};
  ExploredNumber interrupts_{"sockets ready"};
  ExploredNumber sleeper_{"sleeper"};
  const std::function<bool()> is_ending_ = [this] {
    return pending_.value() > 0 || interrupts_.value() > 0;
  };
};

}  // namespace odradek::test
