#include "spare_mappings.h"

#include <algorithm>
#include <new>

#include "../core/bounds.h"

namespace odradek {

void* SpareMappings::take(size_t pages, int64_t now_ns) {
  std::lock_guard lock(mutex_);
  asked_until_ns_ = now_ns + kSpareNs;
  if (dueNs() == INT64_MAX) due_ns_.store(asked_until_ns_, std::memory_order_relaxed);
  if (pages > kMostPages || classes_[pages].count == 0) return nullptr;
  void* memory = pop(pages);
  classes_[pages].fewest = std::min(classes_[pages].fewest, classes_[pages].count);
  return memory;
}

bool SpareMappings::give(const Mapping& mapping, int64_t now_ns) {
  const size_t pages = mapping.pages;
  std::lock_guard lock(mutex_);
  if (pages > kMostPages || kept_pages_ + pages > capacity_ || !isAsked(now_ns)) return false;
  Class& same = classes_[pages];
  same.first = new (mapping.memory) Spare{same.first};
  same.count++;
  kept_pages_ += pages;
  return true;
}

size_t SpareMappings::takeUnneeded(int64_t now_ns, Mapping* mappings, size_t most) {
  std::lock_guard lock(mutex_);
  if (now_ns < dueNs()) return 0;
  size_t count = 0;
  for (size_t pages = 0; pages <= kMostPages; pages++) {
    for (uint32_t& fewest = classes_[pages].fewest; fewest > 0; fewest--) {
      // Due until all have gone.
      if (count == most) return count;
      mappings[count++] = {pop(pages), pages};
    }
  }
  for (Class& same : classes_) same.fewest = same.count;
  const bool is_in_use = kept_pages_ > 0 || isAsked(now_ns);
  due_ns_.store(is_in_use ? now_ns + kSpareNs : INT64_MAX, std::memory_order_relaxed);
  return count;
}

size_t SpareMappings::takeAny(Mapping* mappings, size_t most) {
  std::lock_guard lock(mutex_);
  asked_until_ns_ = INT64_MIN;
  size_t count = 0;
  for (size_t pages = 0; pages <= kMostPages; pages++) {
    while (classes_[pages].count > 0) {
      if (count == most) return count;
      mappings[count++] = {pop(pages), pages};
    }
    classes_[pages].fewest = 0;
  }
  return count;
}

void* SpareMappings::pop(size_t pages) {
  Class& same = classes_[pages];
  Spare* spare = same.first;
  same.first = spare->next;
  same.count--;
  kept_pages_ -= pages;
  return spare;
}

bool SpareMappings::isAsked(int64_t now_ns) const { return now_ns < asked_until_ns_; }

}  // namespace odradek
