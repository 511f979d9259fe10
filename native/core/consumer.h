// The thread that takes requests and events: a doorbell, and a way to wake it out of its own
// event loop. In Node that is a threadsafe function; in a test, nothing at all.
#pragma once

#include "doorbell.h"
#include "mailbox.h"
#include "request.h"

namespace odradek {

class Consumer {
 public:
  Consumer() = default;
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  // Any thread, after its items are visible.
  void ring() {
    if (doorbell_.ring()) wake();
  }

  // Any thread. The consumer finds the event when it is rung next.
  void post(Event* event) { events_.push(event); }

  Doorbell& doorbell() { return doorbell_; }
  Mailbox<Event>& events() { return events_; }

 protected:
  ~Consumer() = default;

  // Called by the one ring that found the consumer asleep. Must not block.
  virtual void wake() = 0;

 private:
  Doorbell doorbell_;
  Mailbox<Event> events_;
};

}  // namespace odradek
