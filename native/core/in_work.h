// The requests that one handler thread has claimed and that are not settled: what has to be
// answered, or given to another thread, if this one dies. Guarded by its RequestHandler's lock.
//
// A request's ticket is its place here, and stays its own until it is settled: the thread marks
// under it that the request was started, in memory that can be read when the thread is no more.
#pragma once

#include <cstdint>
#include <vector>

#include "request.h"

namespace odradek {

class InWork {
 public:
  // `max_in_flight`: requests of one connection that may be started at once.
  InWork(uint32_t capacity, uint32_t max_in_flight);
  InWork(const InWork&) = delete;
  InWork& operator=(const InWork&) = delete;
  ~InWork();

  uint32_t room() const {
    return static_cast<uint32_t>(capacity_ - entries_.size() + free_.size());
  }

  // Keeps a reference of its own to the request's block. Returns the ticket. Requests of a
  // connection come in their order.
  uint32_t add(const Request& request);

  // `count` requests from `sequence` on are settled. False, and nothing is, unless all are here.
  bool settle(const ChannelId& channel, uint32_t sequence, uint32_t count);

  // Those of this connection count no more.
  void drop(const ChannelId& channel);

  // Requests that may be started: of each connection no more than may be in flight.
  uint32_t active() const { return active_; }
  uint32_t size() const { return static_cast<uint32_t>(entries_.size() - free_.size()); }

  struct Claimed {
    Request request;
    uint32_t ticket = 0;
  };
  // All of them, connection by connection, each in its order. The references go along.
  std::vector<Claimed> takeAll();

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Entry {
    Request request;
    uint32_t next = kNone;
  };
  // The requests of one connection, oldest first.
  struct Chain {
    uint32_t first = kNone;
    uint32_t last = kNone;
    uint32_t length = 0;
  };

  Chain& chainOf(const ChannelId& channel);
  bool isHere(const Chain& chain, const ChannelId& channel, uint32_t sequence,
              uint32_t count) const;
  void unlink(Chain& chain, uint32_t sequence);
  void count(Chain& chain, int32_t change);

  const size_t capacity_;
  const uint32_t max_in_flight_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  // By processor and slot.
  std::vector<std::vector<Chain>> chains_;
  uint32_t active_ = 0;
};

}  // namespace odradek
