// Kafka's ConnectionQuotas: how many connections there may be, and how many may come in a second,
// in all, by listener and by IP address. Acceptors ask it before a connection is handed to a
// processor; whoever closes an admitted one gives its place back. Nobody blocks: an acceptor that
// has to wait is told until when, or rung when there is room.
//
// What is refused was never counted, so nothing has to be taken back (Kafka un-records).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ip_address.h"

namespace odradek {

// A limit that is off.
inline constexpr uint32_t kUnlimited = UINT32_MAX;

struct ListenerLimits {
  uint32_t max_connections = kUnlimited;
  // Connections a second.
  uint32_t creation_rate = kUnlimited;
  // Kafka's inter-broker listener: exempt from the limits on all listeners together.
  bool is_protected = false;
};

struct IpOverride {
  IpRange range;
  // Of each address of the range.
  uint32_t max_connections = kUnlimited;
};

struct ConnectionLimits {
  uint32_t max_connections = kUnlimited;
  uint32_t max_connections_per_ip = kUnlimited;
  uint32_t creation_rate = kUnlimited;
  uint32_t creation_rate_per_ip = kUnlimited;
  // Overload: nobody is let in, as where max_connections is reached.
  bool is_stopped = false;
  // The longest range that contains an address goes for it.
  std::vector<IpOverride> per_ip_overrides;
  // By listener.
  std::vector<ListenerLimits> listeners;
};

// Told, by any thread, that an acceptor may go on.
class RoomListener {
 public:
  virtual void roomForConnections() = 0;

 protected:
  ~RoomListener() = default;
};

// By what an open connection is counted.
struct Admission {
  static constexpr uint32_t kNoAccount = UINT32_MAX;

  uint32_t account = kNoAccount;
  uint16_t listener = 0;

  bool isGiven() const { return account != kNoAccount; }
};

// Events a second as a leaky bucket that holds those of one second: what comes after a pause may
// come at once, and the rate holds over any longer time. (Kafka's windows let eleven seconds' worth
// through after a pause.)
class Rate {
 public:
  // The earliest moment at which one more keeps within `limit`.
  int64_t dueNs(uint32_t limit) const {
    return limit == kUnlimited ? INT64_MIN : empty_at_ns_ - (kSecondNs - kSecondNs / limit);
  }
  void record(uint32_t limit, int64_t now_ns) {
    if (limit == kUnlimited) return;
    empty_at_ns_ = std::max(empty_at_ns_, now_ns) + kSecondNs / limit;
  }
  // Nothing is remembered from here on.
  int64_t emptyAtNs() const { return empty_at_ns_; }

 private:
  static constexpr int64_t kSecondNs = 1'000'000'000;

  int64_t empty_at_ns_ = INT64_MIN / 2;
};

class ConnectionQuotas {
 public:
  struct Verdict {
    enum class Kind : uint8_t {
      kAdmitted,  // counted; `admission` is to be given back
      kWait,      // its listener, or all, have too many: the acceptor waits until `until_ns`, or
                  // (INT64_MAX) to be rung
      kPark,      // its address sends too many: it is closed, at `until_ns`
      kRefuse,    // its address has too many: it is closed at once
    };
    Kind kind = Kind::kAdmitted;
    Admission admission;
    int64_t until_ns = INT64_MAX;
  };

  explicit ConnectionQuotas(ConnectionLimits limits) : limits_(std::move(limits)) {}
  ConnectionQuotas(const ConnectionQuotas&) = delete;
  ConnectionQuotas& operator=(const ConnectionQuotas&) = delete;

  // An acceptor's thread. Whoever has to wait is rung once, when it may be worth to ask again.
  Verdict admit(uint16_t listener, const IpAddress& ip, int64_t now_ns, RoomListener& acceptor);
  // Asks no more; it is not rung after this.
  void stopWaiting(RoomListener& acceptor);

  // Any thread. `was_excess`: it was closed since takeExcess() said so.
  void release(const Admission& admission, bool was_excess = false);
  // What is open already stays, but for what is over max_connections: see takeExcess().
  void update(ConnectionLimits limits);

  // Kafka's closeExcessConnections: how many a processor is to close of those, `most` in number,
  // that it has on listeners that are not protected. What is taken has to be closed.
  uint32_t takeExcess(uint32_t most);
  // There are too many, those aside that are to be closed; and not all are protected.
  bool hasExcess() const { return has_excess_.load(std::memory_order_relaxed); }
  bool isProtected(uint16_t listener) const;

  uint32_t total() const;
  uint32_t ofListener(uint16_t listener) const;
  // Addresses that are remembered.
  size_t accounts() const;

 private:
  struct Account {
    IpAddress ip;
    uint32_t connections = 0;
    Rate rate;
  };
  struct Listener {
    uint32_t connections = 0;
    Rate rate;
  };

  // With the lock.
  uint32_t accountOf(const IpAddress& ip);
  uint32_t maxOf(const IpAddress& ip) const;
  ListenerLimits limitsOf(uint16_t listener) const;
  Listener& countsOf(uint16_t listener);
  Verdict judge(const Account& account, uint16_t listener, int64_t now_ns);
  void forgetStale(int64_t now_ns);
  void noteExcess();
  static void ring(std::vector<RoomListener*>& acceptors);

  mutable std::mutex mutex_;
  ConnectionLimits limits_;
  uint32_t total_ = 0;
  // Of those in total_: on protected listeners.
  uint32_t protected_ = 0;
  // To be closed since there are too many, and not given back yet.
  uint32_t leaving_ = 0;
  Rate rate_;
  std::vector<Listener> listeners_;
  std::deque<Account> accounts_;
  std::vector<uint32_t> free_accounts_;
  std::unordered_map<IpAddress, uint32_t, IpAddressHash> by_ip_;
  // Accounts that had no connections when they came here: forgotten once their rate is.
  std::deque<uint32_t> stale_;
  // Acceptors that wait for a place, and until a rate allows.
  std::vector<RoomListener*> want_room_;
  std::vector<RoomListener*> want_time_;
  std::atomic<bool> has_excess_{false};
};

}  // namespace odradek
