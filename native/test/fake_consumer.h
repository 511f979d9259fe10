// A consumer without an event loop: it counts how often it had to be woken.
#pragma once

#include <atomic>
#include <utility>
#include <vector>

#include "../core/consumer.h"

namespace odradek::test {

class FakeConsumer final : public Consumer {
 public:
  ~FakeConsumer() { takeEvents(); }

  // Everything posted since the last call, oldest first.
  std::vector<Event> takeEvents() {
    std::vector<Event> taken;
    Event* event = events().takeAll();
    while (event != nullptr) {
      Event* next = event->next;
      taken.push_back(std::move(*event));
      delete event;
      event = next;
    }
    return taken;
  }

  std::atomic<uint64_t> wakes{0};

 protected:
  void wake() override { wakes++; }
};

}  // namespace odradek::test
