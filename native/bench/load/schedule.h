// A fixed rate: when each request is due, whatever became of those before it. That a slow server
// holds up the generator is then seen in the latencies (no coordinated omission).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace odradek::bench {

class Schedule {
 public:
  // Requests are due evenly spread, on the connections in turn.
  Schedule(double rate, size_t connections, int64_t begin_ns)
      : interval_ns_(1e9 / rate), begin_ns_(begin_ns), taken_(connections) {}

  int64_t intervalNs() const { return static_cast<int64_t>(interval_ns_); }

  // The connection whose next request has become due by now, or -1. Each due request is given once.
  int64_t nextDue(int64_t now_ns) {
    if (dueAt(due_) > now_ns) return -1;
    return static_cast<int64_t>(due_++ % taken_.size());
  }

  // Whether a request of the connection is due and not taken.
  bool hasDue(size_t connection) const { return indexOfNext(connection) < due_; }

  // When the connection's next request is, or was, due; the one after it is next from now on.
  int64_t take(size_t connection) {
    const int64_t at = dueAt(indexOfNext(connection));
    taken_[connection]++;
    return at;
  }

 private:
  uint64_t indexOfNext(size_t connection) const {
    return taken_[connection] * taken_.size() + connection;
  }
  int64_t dueAt(uint64_t index) const {
    return begin_ns_ + static_cast<int64_t>(static_cast<double>(index) * interval_ns_);
  }

  double interval_ns_;
  int64_t begin_ns_;
  uint64_t due_ = 0;
  std::vector<uint64_t> taken_;
};

}  // namespace odradek::bench
