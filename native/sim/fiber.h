// A thread of the product as a coroutine with a stack of its own: it runs until it gives way, so
// that one real thread plays all of them in any order.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <memory>

namespace odradek::sim {

class Fiber {
 public:
  using Stack = std::unique_ptr<std::byte[]>;

  Fiber(void (*body)(void*), void* argument);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  // From outside any fiber: goes on with the body until it gives way or ends.
  void resume();

  // From the body. Does nothing outside of one.
  static void giveWay();

  bool hasEnded() const { return has_ended_; }

 private:
  static void start();

  void (*body_)(void*);
  void* argument_;
  Stack stack_;
  ucontext_t context_;
  bool has_ended_ = false;
  // AddressSanitizer is told which stack is in use.
  void* fake_stack_ = nullptr;
};

}  // namespace odradek::sim
