// A function with a stack of its own, run piece by piece: it goes on when it is resumed, until it
// suspends itself. The sanitizers are told of each change of stacks.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace odradek::test {

class Fiber {
 public:
  // `body` starts with the first resume() and never returns: it suspends instead.
  explicit Fiber(std::function<void()> body);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  void resume();
  // By the body.
  void suspend();

 private:
  static void enter();

  static constexpr size_t kStackBytes = 256 * 1024;

  std::function<void()> body_;
  std::unique_ptr<char[]> stack_;
  ucontext_t own_{};
  ucontext_t resumer_{};
  const void* resumer_stack_ = nullptr;
  size_t resumer_stack_bytes_ = 0;
  // TSan's names of the two.
  void* own_name_ = nullptr;
  void* resumer_name_ = nullptr;
};

}  // namespace odradek::test
