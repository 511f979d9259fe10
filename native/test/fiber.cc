#include "fiber.h"

#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define ODRADEK_ASAN_FIBERS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ODRADEK_ASAN_FIBERS
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define ODRADEK_TSAN_FIBERS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ODRADEK_TSAN_FIBERS
#endif
#endif

#ifdef ODRADEK_ASAN_FIBERS
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef ODRADEK_TSAN_FIBERS
#include <sanitizer/tsan_interface.h>
#endif

namespace odradek::test {
namespace {

// makecontext() hands no pointer over portably.
thread_local Fiber* entering = nullptr;

#ifdef ODRADEK_ASAN_FIBERS
void leaveStack(void** fake, const void* next, size_t bytes) {
  __sanitizer_start_switch_fiber(fake, next, bytes);
}
void arriveOnStack(void* fake, const void** before, size_t* bytes) {
  __sanitizer_finish_switch_fiber(fake, before, bytes);
}
#else
void leaveStack(void**, const void*, size_t) {}
void arriveOnStack(void*, const void**, size_t*) {}
#endif

#ifdef ODRADEK_TSAN_FIBERS
void* makeName() { return __tsan_create_fiber(0); }
void* currentName() { return __tsan_get_current_fiber(); }
void switchName(void* name) { __tsan_switch_to_fiber(name, 0); }
void dropName(void* name) { __tsan_destroy_fiber(name); }
#else
void* makeName() { return nullptr; }
void* currentName() { return nullptr; }
void switchName(void*) {}
void dropName(void*) {}
#endif

}  // namespace

Fiber::Fiber(std::function<void()> body)
    : body_(std::move(body)), stack_(new char[kStackBytes]), own_name_(makeName()) {
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_.get();
  own_.uc_stack.ss_size = kStackBytes;
  own_.uc_link = nullptr;
  makecontext(&own_, enter, 0);
}

Fiber::~Fiber() { dropName(own_name_); }

void Fiber::enter() {
  Fiber* self = std::exchange(entering, nullptr);
  arriveOnStack(nullptr, &self->resumer_stack_, &self->resumer_stack_bytes_);
  self->body_();
}

void Fiber::resume() {
  entering = this;
  resumer_name_ = currentName();
  void* fake = nullptr;
  leaveStack(&fake, stack_.get(), kStackBytes);
  switchName(own_name_);
  swapcontext(&resumer_, &own_);
  arriveOnStack(fake, nullptr, nullptr);
}

void Fiber::suspend() {
  void* fake = nullptr;
  leaveStack(&fake, resumer_stack_, resumer_stack_bytes_);
  switchName(resumer_name_);
  swapcontext(&own_, &resumer_);
  arriveOnStack(fake, &resumer_stack_, &resumer_stack_bytes_);
}

}  // namespace odradek::test
