// What an explored program shares, in place of the real things: atomics, plain cells, a lock, and a
// wake flag. Each names itself in a schedule.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "explorer.h"

namespace odradek::test {

template <typename T>
uint64_t bitsOf(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<uintptr_t>(value);
  } else {
    return static_cast<uint64_t>(value);
  }
}

template <typename T>
T valueOf(uint64_t bits) {
  if constexpr (std::is_pointer_v<T>) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it was one
    return reinterpret_cast<T>(static_cast<uintptr_t>(bits));
  } else {
    return static_cast<T>(bits);
  }
}

// As a schedule shows it; what pointers lead to says textOf(T) for itself.
template <typename T>
std::string shown(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return value == nullptr ? "null" : textOf(*value);
  } else {
    return std::to_string(value);
  }
}

inline const char* textOf(std::memory_order order) {
  constexpr const char* kNames[] = {"relaxed", "consume", "acquire",
                                    "release", "acq_rel", "seq_cst"};
  return kNames[static_cast<int>(order)];
}

// std::atomic, as far as the product uses it.
template <typename T>
class ExploredAtomic {
 public:
  ExploredAtomic(T value, const char* name)
      : at_(Explorer::current().add(name, SharedMemoryModel::Kind::kAtomic, bitsOf(value))) {}
  // The product's atomics have no names: there is one of each kind in a component.
  ExploredAtomic(T value) : ExploredAtomic(value, nameOf()) {}
  ExploredAtomic(const ExploredAtomic&) = delete;
  ExploredAtomic& operator=(const ExploredAtomic&) = delete;

  T load(std::memory_order order = std::memory_order_seq_cst) const {
    Explorer& explorer = Explorer::current();
    explorer.step();
    SharedMemoryModel& memory = explorer.memory();
    const size_t thread = explorer.thread();
    const uint32_t age = explorer.choose(memory.choices(thread, at_, order));
    const uint64_t bits = memory.read(thread, at_, age, order);
    explorer.observe(bits);
    if (explorer.isNoting()) {
      note("load", order, shown(valueOf<T>(bits)) + (age == 0 ? "" : ", not the newest"));
    }
    return valueOf<T>(bits);
  }

  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    Explorer& explorer = Explorer::current();
    explorer.step();
    explorer.memory().write(explorer.thread(), at_, bitsOf(value), order);
    explorer.observe(0);
    if (explorer.isNoting()) note("store", order, shown(value));
  }

  T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
    Explorer& explorer = Explorer::current();
    explorer.step();
    const uint64_t before = explorer.memory().update(explorer.thread(), at_, bitsOf(value), order);
    explorer.observe(before);
    if (explorer.isNoting()) {
      note("exchange", order, shown(valueOf<T>(before)) + " by " + shown(value));
    }
    return valueOf<T>(before);
  }

  T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst) {
    Explorer& explorer = Explorer::current();
    explorer.step();
    SharedMemoryModel& memory = explorer.memory();
    const T sum = valueOf<T>(memory.peek(at_, 0)) + value;
    const uint64_t before = memory.update(explorer.thread(), at_, bitsOf(sum), order);
    explorer.observe(before);
    if (explorer.isNoting()) note("fetch_add", order, shown(value) + ", now " + shown(sum));
    return valueOf<T>(before);
  }
  T fetch_sub(T value, std::memory_order order = std::memory_order_seq_cst) {
    return fetch_add(T() - value, order);
  }

  bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                               std::memory_order failure) {
    Explorer& explorer = Explorer::current();
    explorer.step();
    SharedMemoryModel& memory = explorer.memory();
    const size_t thread = explorer.thread();
    // What it may compare with: the newest value, and older ones that differ from the expected one
    // (after an equal one it would have to write, and only the newest has room behind it).
    const uint32_t visible = memory.choices(thread, at_, failure);
    uint32_t ages = 1;
    for (uint32_t age = 1; age < visible; age++) ages += memory.peek(at_, age) != bitsOf(expected);
    uint32_t age = 0;
    for (uint32_t left = explorer.choose(ages); left > 0; left--) {
      do age++;
      while (memory.peek(at_, age) == bitsOf(expected));
    }
    if (memory.peek(at_, age) == bitsOf(expected)) {
      memory.update(thread, at_, bitsOf(desired), success);
      explorer.observe(1);
      if (explorer.isNoting()) {
        note("compare_exchange", success, shown(expected) + " by " + shown(desired));
      }
      return true;
    }
    const uint64_t found = memory.read(thread, at_, age, failure);
    explorer.observe(mixed(2, found));
    expected = valueOf<T>(found);
    if (explorer.isNoting()) note("compare_exchange", failure, "failed, " + shown(expected));
    return false;
  }
  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order order = std::memory_order_seq_cst) {
    return compare_exchange_strong(expected, desired, order, onFailure(order));
  }

  // Doesn't fail for no reason: whoever calls the weak one tries again, from what it has read.
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure) {
    return compare_exchange_strong(expected, desired, success, failure);
  }

 private:
  static const char* nameOf() { return std::is_pointer_v<T> ? "mailbox" : "state"; }

  static constexpr std::memory_order onFailure(std::memory_order order) {
    if (order == std::memory_order_acq_rel) return std::memory_order_acquire;
    return order == std::memory_order_release ? std::memory_order_relaxed : order;
  }

  void note(const char* call, std::memory_order order, const std::string& what) const {
    Explorer& explorer = Explorer::current();
    explorer.note(std::string(explorer.label(at_)) + "." + call + "(" + textOf(order) +
                  "): " + what);
  }

  const size_t at_;
};

// A variable that is no atomic: using it while another thread may write it is a finding.
template <typename T>
class ExploredPlain {
 public:
  explicit ExploredPlain(const char* name)
      : at_(Explorer::current().add(name, SharedMemoryModel::Kind::kPlain, bitsOf(T()))) {}
  ExploredPlain(const ExploredPlain&) = delete;

  operator T() const {
    check("read");
    Explorer& explorer = Explorer::current();
    const uint64_t bits = explorer.memory().plain(at_);
    explorer.observe(bits);
    return valueOf<T>(bits);
  }

  ExploredPlain& operator=(T value) {
    check("written");
    Explorer& explorer = Explorer::current();
    explorer.memory().writePlain(explorer.thread(), at_, bitsOf(value));
    return *this;
  }

 private:
  void check(const char* use) const {
    Explorer& explorer = Explorer::current();
    if (explorer.memory().isKnown(explorer.thread(), at_)) return;
    explorer.fail(std::string("data race: ") + explorer.label(at_) + " is " + use +
                  " by a thread that may not have seen the last write");
  }

  const size_t at_;
};

// A lock, held for one step: what is done under it can't be seen by halves.
class ExploredLock {
 public:
  explicit ExploredLock(const char* name)
      : at_(Explorer::current().add(name, SharedMemoryModel::Kind::kAtomic, 0)) {}

  template <typename Work>
  auto hold(const char* what, Work work) {
    Explorer& explorer = Explorer::current();
    explorer.step();
    SharedMemoryModel& memory = explorer.memory();
    memory.read(explorer.thread(), at_, 0, std::memory_order_acquire);
    const auto result = work();
    memory.update(explorer.thread(), at_, 0, std::memory_order_release);
    explorer.observe(static_cast<uint64_t>(result));
    if (explorer.isNoting()) {
      explorer.note(std::string(what) + ": " + std::to_string(result));
    }
    return result;
  }

 private:
  const size_t at_;
};

// A lock that is held over several steps.
class ExploredMutex {
 public:
  ExploredMutex() : at_(Explorer::current().add("mutex", SharedMemoryModel::Kind::kAtomic, 0)) {}

  void lock() {
    Explorer& explorer = Explorer::current();
    const std::function<bool()> is_free = [&] { return explorer.memory().peek(at_, 0) == 0; };
    explorer.step(&is_free);
    explorer.memory().update(explorer.thread(), at_, 1, std::memory_order_acquire);
    explorer.observe(1);
    if (explorer.isNoting()) explorer.note("mutex.lock()");
  }

  void unlock() {
    Explorer& explorer = Explorer::current();
    explorer.step();
    explorer.memory().update(explorer.thread(), at_, 0, std::memory_order_release);
    explorer.observe(0);
    if (explorer.isNoting()) explorer.note("mutex.unlock()");
  }

 private:
  const size_t at_;
};

// A number that the kernel, the event loop, or the checks keep: all see it alike, and nobody learns
// anything else by it. Changing it is no step.
class ExploredNumber {
 public:
  explicit ExploredNumber(const char* name, uint64_t value = 0)
      : at_(Explorer::current().add(name, SharedMemoryModel::Kind::kKernel, value)) {}

  uint64_t value() const { return Explorer::current().memory().plain(at_); }
  void set(uint64_t value) {
    Explorer& explorer = Explorer::current();
    explorer.memory().write(explorer.thread(), at_, value, std::memory_order_relaxed);
  }

 private:
  const size_t at_;
};

}  // namespace odradek::test
