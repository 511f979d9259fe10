#include "unsent_bytes.h"

#include <algorithm>

namespace odradek {

void UnsentBytes::join(UnsentHolder& holder) {
  std::lock_guard lock(mutex_);
  holders_.push_back(&holder);
}

void UnsentBytes::leave(UnsentHolder& holder) {
  add(holder, -holder.unsent_.load(std::memory_order_relaxed));
  std::lock_guard lock(mutex_);
  std::erase(holders_, &holder);
}

void UnsentBytes::add(UnsentHolder& holder, int64_t change) {
  // Most turns send all that they were given.
  if (change == 0) return;
  holder.unsent_.fetch_add(change, std::memory_order_relaxed);
  total_.fetch_add(change, std::memory_order_relaxed);
  if (change > 0) check();
}

void UnsentBytes::check() {
  if (excess() <= 0) return;
  std::lock_guard lock(mutex_);
  const auto unsentOf = [](const UnsentHolder* holder) {
    return holder->unsent_.load(std::memory_order_relaxed);
  };
  const auto most = std::ranges::max_element(holders_, {}, unsentOf);
  if (most != holders_.end() && unsentOf(*most) > 0) (*most)->tooMuchUnsent();
}

void UnsentBytes::resize(int64_t most) {
  most_.store(most, std::memory_order_relaxed);
  check();
}

}  // namespace odradek
