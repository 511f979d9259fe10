// A queue in one array that doubles when it is full and shrinks when it is told to: no allocation
// per item. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "check.h"

namespace odradek {

template <typename T>
class Ring {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  T& front() { return at(0); }
  const T& front() const { return at(0); }
  T& back() { return at(size_ - 1); }
  T& at(size_t index) {
    ODRADEK_ASSERT(index < size_);
    return items_[place(index)];
  }
  const T& at(size_t index) const {
    ODRADEK_ASSERT(index < size_);
    return items_[place(index)];
  }

  void push(T item) {
    if (size_ == capacity_) grow();
    items_[place(size_)] = std::move(item);
    size_++;
  }

  void pushFront(T item) {
    if (size_ == capacity_) grow();
    head_ = static_cast<uint32_t>(place(capacity_ - 1));
    items_[head_] = std::move(item);
    size_++;
  }

  T pop() {
    ODRADEK_ASSERT(size_ > 0);
    T item = std::move(items_[head_]);
    items_[head_] = T();
    head_ = static_cast<uint32_t>(place(1));
    size_--;
    return item;
  }

  T popBack() {
    ODRADEK_ASSERT(size_ > 0);
    size_--;
    return std::exchange(items_[place(size_)], T());
  }

  // Those that are left keep their order.
  template <typename Predicate>
  void eraseIf(Predicate is_erased) {
    for (size_t left = size_; left > 0; left--) {
      T item = pop();
      if (!is_erased(item)) push(std::move(item));
    }
  }

  // While it is empty: lets go of the array.
  void shrink() {
    ODRADEK_ASSERT(size_ == 0);
    items_.reset();
    capacity_ = 0;
    head_ = 0;
  }

 private:
  static constexpr uint32_t kFirstCapacity = 8;

  // The capacity is a power of two.
  size_t place(size_t index) const { return (head_ + index) & (capacity_ - 1); }

  void grow() {
    const uint32_t capacity = capacity_ == 0 ? kFirstCapacity : capacity_ * 2;
    ODRADEK_REQUIRE(capacity > capacity_);
    auto larger = std::make_unique<T[]>(capacity);
    for (size_t i = 0; i < size_; i++) larger[i] = std::move(at(i));
    items_ = std::move(larger);
    capacity_ = capacity;
    head_ = 0;
  }

  std::unique_ptr<T[]> items_;
  uint32_t capacity_ = 0;
  uint32_t head_ = 0;
  uint32_t size_ = 0;
};

}  // namespace odradek
