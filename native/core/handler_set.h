// The places of a handler pool, and the requests that wait for its threads: in one queue that all
// take from, or, where connections have a thread of their own, in one for each place. A thread
// that is lost leaves its place, and another one enters it. Guarded by the request channel's lock.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "request.h"
#include "ring.h"

namespace odradek {

class RequestHandler;

class HandlerSet {
 public:
  static constexpr uint32_t kNoPlace = UINT32_MAX;

  using Handlers = std::vector<std::shared_ptr<RequestHandler>>;

  HandlerSet(bool has_affinity, uint32_t max_in_flight)
      : has_affinity_(has_affinity), max_in_flight_(max_in_flight) {}
  HandlerSet(const HandlerSet&) = delete;
  HandlerSet& operator=(const HandlerSet&) = delete;

  bool hasAffinity() const { return has_affinity_; }

  void enter(uint32_t place, std::shared_ptr<RequestHandler> handler);
  void leave(uint32_t place);
  // Nobody will enter the place again: each of its connections goes to the place that has the
  // fewest, with what waits of it.
  void retire(uint32_t place);

  // With affinity: the place of a new connection, that which has the fewest; and its end.
  uint32_t assign();
  void unassign(uint32_t place, const ChannelId& channel);

  void push(const Request& request);
  // To the head, in this order.
  void putBack(const std::vector<Request>& requests);

  // Requests that `place` may take next, so that they can all be started one after the other
  // by one thread: one connection's that stand together, where only one of them may be in flight.
  // Returns how many of them may be started at once, no more than `most`.
  uint32_t takeRun(uint32_t place, uint32_t most, std::vector<Request>& taken);

  bool hasRequests(uint32_t place) const;
  uint32_t queued() const { return queued_; }
  std::vector<Request> takeAll();

  // A thread has found nothing to take.
  void sleeps(uint32_t place);
  void isAwake(uint32_t place);
  // Sleepers for what was queued, no more than there is to take: first those with the least in
  // work, whose event loops are free for sure.
  void wake(size_t runs, Handlers& woken);

  const std::shared_ptr<RequestHandler>& at(uint32_t place) const { return places_[place].handler; }
  uint32_t size() const { return static_cast<uint32_t>(places_.size()); }

 private:
  struct Place {
    std::shared_ptr<RequestHandler> handler;
    Ring<Request> queue;
    uint32_t connections = 0;
    bool is_retired = false;
    bool sleeps = false;
  };

  uint32_t placeOf(uint32_t place, const ChannelId& channel);
  uint32_t fewest() const;
  Ring<Request>& queueOf(uint32_t place);
  Ring<Request>& queueOf(const Request& request);
  void rouse(Place& place, Handlers& woken);

  const bool has_affinity_;
  const uint32_t max_in_flight_;
  std::vector<Place> places_;
  // Where connections of retired places are.
  std::map<ChannelId, uint32_t> moved_;
  Ring<Request> queue_;
  uint32_t queued_ = 0;
  uint32_t asleep_ = 0;
};

}  // namespace odradek
