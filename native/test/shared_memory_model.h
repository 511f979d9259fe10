// Memory as C++ threads share it, for an exploration: what a read may return when others write at
// the same time. A model of release and acquire as C++20 defines them, within these limits:
//
// - Each atomic keeps every value written to it, in the order of the writes. Each thread has a
//   view: of each location, the oldest value that it may still see. A load may return any value
//   that is not older; a read-modify-write takes the newest.
// - A release write carries its thread's view, and an acquire read of it joins that view to its
//   own; a read-modify-write passes on what the value before it carried (release sequences).
// - A seq_cst read is not older than the location's last seq_cst write.
// - A plain cell may be read and written only by a thread that knows its last write: all else is a
//   data race.
// - Not modelled: fences, consume, and values from the future (a load that is delayed past a store
//   of its own thread). New values come after all old ones of their location.
//
// With `is_weak` off every thread sees the newest values: sequential consistency, and no races.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace odradek::test {

class SharedMemoryModel {
 public:
  static constexpr size_t kMaxThreads = 5;
  static constexpr size_t kMaxLocations = 24;

  enum class Kind : uint8_t {
    kAtomic,
    kPlain,
    kKernel,  // seen alike by all, and tells nobody anything else
  };

  void reset(bool is_weak, size_t threads);
  size_t add(Kind kind, uint64_t value);

  // What thread 0 has written so far was before all threads began.
  void share() { views_.fill(views_[0]); }

  // The thread reads no more.
  void finished(size_t thread) { is_finished_[thread] = true; }

  // Whether a thread has loaded from a location for the first time in all runs: hash() reckons only
  // with the readers that are known, and told states alike that are not.
  bool hasNewReader() { return std::exchange(has_new_reader_, false); }

  // --- By thread `thread`; reads and writes have happened once they return -----------------------
  // How many values a load may return: newest is 0.
  uint32_t choices(size_t thread, size_t location, std::memory_order order);
  uint64_t peek(size_t location, uint32_t age) const;
  uint64_t read(size_t thread, size_t location, uint32_t age, std::memory_order order);
  void write(size_t thread, size_t location, uint64_t value, std::memory_order order);
  // Returns the value before.
  uint64_t update(size_t thread, size_t location, uint64_t value, std::memory_order order);
  // Of a plain cell: whether the thread knows the last write.
  bool isKnown(size_t thread, size_t location) const;
  uint64_t plain(size_t location) const { return peek(location, 0); }
  void writePlain(size_t thread, size_t location, uint64_t value);

  // Equal for two histories after which all threads can see and do the same.
  uint64_t hash() const;

 private:
  // Of each location: how many values were written when this one, and all before, were passed.
  using View = std::array<uint32_t, kMaxLocations>;

  struct Value {
    uint64_t bits = 0;
    View carried{};
  };

  struct Location {
    Kind kind = Kind::kAtomic;
    // Plain cells and the kernel's keep only the last.
    std::vector<Value> values;
    uint32_t newest = 0;
    uint32_t last_seq_cst = 0;
  };

  void join(View& view, const View& other) const;
  void append(size_t thread, Location& location, size_t index, uint64_t bits,
              std::memory_order order, const View* passed_on);
  uint64_t hashView(const View& view, const View& oldest, uint64_t seed) const;

  bool is_weak_ = false;
  size_t threads_ = 0;
  size_t used_ = 0;
  std::array<Location, kMaxLocations> locations_;
  std::array<View, kMaxThreads> views_{};
  std::array<bool, kMaxThreads> is_finished_{};
  // Kept from run to run: which threads load from a location (a read-modify-write takes the newest
  // value and is no reader, but where it fails).
  std::array<std::array<bool, kMaxThreads>, kMaxLocations> loads_{};
  bool has_new_reader_ = false;
};

// Mixes a number into a hash (splitmix64's finalizer).
constexpr uint64_t mixed(uint64_t hash, uint64_t number) {
  uint64_t bits = hash * 31 + number + 0x9e3779b97f4a7c15;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

}  // namespace odradek::test
