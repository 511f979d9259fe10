// A queue in one array that doubles when it is full and never shrinks: no allocation per item.
// Not thread-safe.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "check.h"

namespace odradek {

template <typename T>
class Ring {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  T& front() { return at(0); }
  T& back() { return at(size_ - 1); }
  T& at(size_t index) {
    ODRADEK_ASSERT(index < size_);
    return items_[(head_ + index) & (items_.size() - 1)];
  }

  void push(T item) {
    if (size_ == items_.size()) grow();
    items_[(head_ + size_) & (items_.size() - 1)] = std::move(item);
    size_++;
  }

  void pushFront(T item) {
    if (size_ == items_.size()) grow();
    head_ = (head_ + items_.size() - 1) & (items_.size() - 1);
    items_[head_] = std::move(item);
    size_++;
  }

  T pop() {
    ODRADEK_ASSERT(size_ > 0);
    T item = std::move(items_[head_]);
    items_[head_] = T();
    head_ = (head_ + 1) & (items_.size() - 1);
    size_--;
    return item;
  }

 private:
  void grow() {
    std::vector<T> larger(items_.empty() ? 8 : items_.size() * 2);
    for (size_t i = 0; i < size_; i++) larger[i] = std::move(at(i));
    items_ = std::move(larger);
    head_ = 0;
  }

  std::vector<T> items_;
  size_t head_ = 0;
  size_t size_ = 0;
};

}  // namespace odradek
