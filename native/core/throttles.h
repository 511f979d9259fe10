// Who is not read from until when: Kafka's queue of ThrottledChannels (ClientQuotaManager), which
// has a thread of its own there. Ours is a part of the processor: the earliest end is one of the
// moments up to which it may sleep.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace odradek {

// What one thread has asked for one connection. Throttles that overlap are one, to the latest end.
struct Throttle {
  uint64_t token = 0;  // Place::token()
  uint32_t origin = 0;
  int64_t until_ns = 0;
  // How many were asked for.
  uint32_t count = 0;
};

class Throttles {
 public:
  void add(const Throttle& throttle) {
    const Key key = {throttle.token, throttle.origin};
    End& end = ends_[key];
    if (end.count > 0) by_end_.erase({end.until_ns, key});
    end.until_ns = std::max(end.until_ns, throttle.until_ns);
    end.count += throttle.count;
    by_end_.insert({end.until_ns, key});
  }

  // The earliest end; INT64_MAX: there is none.
  int64_t dueNs() const { return by_end_.empty() ? INT64_MAX : by_end_.begin()->first; }

  // Takes the earliest out if it ends by then.
  bool takeDue(int64_t now_ns, Throttle* throttle) {
    if (dueNs() > now_ns) return false;
    take(ends_.find(by_end_.begin()->second), throttle);
    return true;
  }

  // Takes one of this connection out.
  bool takeOf(uint64_t token, Throttle* throttle) {
    const auto found = ends_.lower_bound({token, 0});
    if (found == ends_.end() || found->first.first != token) return false;
    take(found, throttle);
    return true;
  }

  bool has(uint64_t token) const {
    const auto found = ends_.lower_bound({token, 0});
    return found != ends_.end() && found->first.first == token;
  }

 private:
  using Key = std::pair<uint64_t, uint32_t>;
  struct End {
    int64_t until_ns = 0;
    uint32_t count = 0;
  };

  void take(std::map<Key, End>::iterator at, Throttle* throttle) {
    const auto [key, end] = *at;
    *throttle = {key.first, key.second, end.until_ns, end.count};
    by_end_.erase({end.until_ns, key});
    ends_.erase(at);
  }

  std::map<Key, End> ends_;
  std::set<std::pair<int64_t, Key>> by_end_;
};

}  // namespace odradek
