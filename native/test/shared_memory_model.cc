#include "shared_memory_model.h"

#include <algorithm>

#include "../core/check.h"

namespace odradek::test {
namespace {

bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

}  // namespace

void SharedMemoryModel::reset(bool is_weak, size_t threads) {
  ODRADEK_REQUIRE(threads <= kMaxThreads);
  is_weak_ = is_weak;
  threads_ = threads;
  used_ = 0;
  views_ = {};
  is_finished_ = {};
}

size_t SharedMemoryModel::add(Kind kind, uint64_t value) {
  ODRADEK_REQUIRE(used_ < kMaxLocations);
  Location& location = locations_[used_];
  location.kind = kind;
  location.values.assign(1, {.bits = value, .carried = {}});
  location.newest = 0;
  location.last_seq_cst = 0;
  return used_++;
}

// --- Reading and writing -------------------------------------------------------------------------

uint32_t SharedMemoryModel::choices(size_t thread, size_t location, std::memory_order order) {
  const Location& cell = locations_[location];
  if (!is_weak_ || cell.kind != Kind::kAtomic) return 1;
  if (!std::exchange(loads_[location][thread], true)) has_new_reader_ = true;
  uint32_t oldest = views_[thread][location];
  if (order == std::memory_order_seq_cst) oldest = std::max(oldest, cell.last_seq_cst);
  return cell.newest - oldest + 1;
}

uint64_t SharedMemoryModel::peek(size_t location, uint32_t age) const {
  const std::vector<Value>& values = locations_[location].values;
  return values[values.size() - 1 - age].bits;
}

uint64_t SharedMemoryModel::read(size_t thread, size_t location, uint32_t age,
                                 std::memory_order order) {
  const Location& cell = locations_[location];
  const Value& value = cell.values[cell.values.size() - 1 - age];
  if (is_weak_ && cell.kind == Kind::kAtomic) {
    uint32_t& known = views_[thread][location];
    known = std::max(known, cell.newest - age);
    if (acquires(order)) join(views_[thread], value.carried);
  }
  return value.bits;
}

void SharedMemoryModel::write(size_t thread, size_t location, uint64_t value,
                              std::memory_order order) {
  append(thread, locations_[location], location, value, order, nullptr);
}

uint64_t SharedMemoryModel::update(size_t thread, size_t location, uint64_t value,
                                   std::memory_order order) {
  const uint64_t before = read(thread, location, 0, order);
  const View passed_on = locations_[location].values.back().carried;
  append(thread, locations_[location], location, value, order, &passed_on);
  return before;
}

void SharedMemoryModel::append(size_t thread, Location& location, size_t index, uint64_t bits,
                               std::memory_order order, const View* passed_on) {
  if (!is_weak_ || location.kind != Kind::kAtomic) {
    location.values.back().bits = bits;
    return;
  }
  location.newest++;
  views_[thread][index] = location.newest;
  if (order == std::memory_order_seq_cst) location.last_seq_cst = location.newest;
  Value value = {.bits = bits, .carried = {}};
  if (releases(order)) value.carried = views_[thread];
  if (passed_on != nullptr) join(value.carried, *passed_on);
  location.values.push_back(value);
}

bool SharedMemoryModel::isKnown(size_t thread, size_t location) const {
  return !is_weak_ || views_[thread][location] == locations_[location].newest;
}

void SharedMemoryModel::writePlain(size_t thread, size_t location, uint64_t value) {
  Location& cell = locations_[location];
  cell.values.back().bits = value;
  if (!is_weak_) return;
  cell.newest++;
  views_[thread][location] = cell.newest;
}

void SharedMemoryModel::join(View& view, const View& other) const {
  for (size_t i = 0; i < used_; i++) view[i] = std::max(view[i], other[i]);
}

// --- Equal states --------------------------------------------------------------------------------

// Values that no thread can see any more are left out, and the rest counted from the oldest.
uint64_t SharedMemoryModel::hash() const {
  View oldest = {};
  if (is_weak_) {
    for (size_t i = 0; i < used_; i++) {
      oldest[i] = locations_[i].newest;
      if (locations_[i].kind != Kind::kAtomic) continue;
      for (size_t thread = 0; thread < threads_; thread++) {
        if (is_finished_[thread] || !loads_[i][thread]) continue;
        oldest[i] = std::min(oldest[i], views_[thread][i]);
      }
    }
  }
  uint64_t hash = used_;
  for (size_t i = 0; i < used_; i++) {
    const Location& cell = locations_[i];
    const bool has_history = is_weak_ && cell.kind == Kind::kAtomic;
    const size_t kept = has_history ? cell.newest - oldest[i] + 1 : 1;
    hash = mixed(hash, kept);
    for (size_t age = 0; age < kept; age++) {
      const Value& value = cell.values[cell.values.size() - 1 - age];
      hash = mixed(hash, value.bits);
      if (has_history) hash = hashView(value.carried, oldest, hash);
    }
    if (has_history) hash = mixed(hash, std::max(cell.last_seq_cst, oldest[i]) - oldest[i]);
  }
  if (!is_weak_) return hash;
  for (size_t thread = 0; thread < threads_; thread++) {
    if (!is_finished_[thread]) hash = hashView(views_[thread], oldest, hash);
  }
  return hash;
}

uint64_t SharedMemoryModel::hashView(const View& view, const View& oldest, uint64_t seed) const {
  uint64_t hash = seed;
  for (size_t i = 0; i < used_; i++) {
    // Of a plain cell only this matters: whether the last write is known.
    const bool is_plain = locations_[i].kind != Kind::kAtomic;
    const uint32_t known =
        is_plain ? (view[i] == oldest[i] ? 1 : 0) : std::max(view[i], oldest[i]) - oldest[i];
    hash = mixed(hash, known);
  }
  return hash;
}

}  // namespace odradek::test
