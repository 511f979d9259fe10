#include "fiber.h"

#include <utility>
#include <vector>

#include "../core/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define ODRADEK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ODRADEK_ASAN 1
#endif
#endif

#ifdef ODRADEK_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace odradek::sim {
namespace {

constexpr size_t kStackBytes = 256 * 1024;

Fiber* running = nullptr;
ucontext_t scheduler;

#ifdef ODRADEK_ASAN
const void* scheduler_stack = nullptr;
size_t scheduler_stack_bytes = 0;

void leave(void** fake_stack, const void* stack, size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
}
void arrive(void* fake_stack, const void** from, size_t* bytes) {
  __sanitizer_finish_switch_fiber(fake_stack, from, bytes);
}
#endif

// Stacks are used again: a run makes hundreds of thousands of fibers.
std::vector<Fiber::Stack>& spareStacks() {
  static std::vector<Fiber::Stack> stacks;
  return stacks;
}

}  // namespace

Fiber::Fiber(void (*body)(void*), void* argument) : body_(body), argument_(argument) {
  if (spareStacks().empty()) {
    stack_ = std::make_unique<std::byte[]>(kStackBytes);
  } else {
    stack_ = std::move(spareStacks().back());
    spareStacks().pop_back();
  }
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::start, 0);
}

Fiber::~Fiber() { spareStacks().push_back(std::move(stack_)); }

void Fiber::resume() {
  ODRADEK_REQUIRE(running == nullptr && !has_ended_);
  running = this;
#ifdef ODRADEK_ASAN
  void* fake_stack = nullptr;
  leave(&fake_stack, stack_.get(), kStackBytes);
#endif
  swapcontext(&scheduler, &context_);
#ifdef ODRADEK_ASAN
  arrive(fake_stack, nullptr, nullptr);
#endif
  running = nullptr;
}

void Fiber::giveWay() {
  Fiber* const self = running;
  if (self == nullptr) return;
#ifdef ODRADEK_ASAN
  // A fiber that has ended never comes back: its fake stack goes.
  void** const fake_stack = self->has_ended_ ? nullptr : &self->fake_stack_;
  leave(fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
  swapcontext(&self->context_, &scheduler);
#ifdef ODRADEK_ASAN
  arrive(self->fake_stack_, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

void Fiber::start() {
#ifdef ODRADEK_ASAN
  arrive(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
  running->body_(running->argument_);
  running->has_ended_ = true;
  giveWay();
}

}  // namespace odradek::sim
