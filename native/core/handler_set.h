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

  // Whether something is there for `place`. Where all take from one queue, a thread that has
  // requests in work leaves to those that have none, and come in a moment, what they will take.
  bool hasRequests(uint32_t place) const;
  uint32_t queued() const { return queued_; }
  // When the oldest was received; INT64_MAX: there is none.
  int64_t oldestNs() const;
  // How many takeRun() would find in the one queue.
  uint32_t runs() const { return runs_; }
  std::vector<Request> takeAll();

  // A thread takes what there is, has found nothing more, or wants nothing.
  void isAwake(uint32_t place);
  void sleeps(uint32_t place);
  void abstains(uint32_t place);
  // Sleepers for so many runs, first those with the least in work. Only one that waits in its event
  // loop comes for sure: where there are none, all are woken, and who is free first takes.
  void wake(size_t runs, Handlers& woken);
  // `place` is about to take: sleepers with nothing in work go before, if it has something.
  void wakeIdle(uint32_t place, Handlers& woken);

  const std::shared_ptr<RequestHandler>& at(uint32_t place) const { return places_[place].handler; }
  uint32_t size() const { return static_cast<uint32_t>(places_.size()); }

 private:
  struct Place {
    std::shared_ptr<RequestHandler> handler;
    Ring<Request> queue;
    uint32_t connections = 0;
    bool is_retired = false;
    bool sleeps = false;
    // It takes in a moment: it is awake, or was woken out of its event loop with nothing in work.
    bool is_coming = false;
  };

  uint32_t placeOf(uint32_t place, const ChannelId& channel);
  uint32_t fewest() const;
  Ring<Request>& queueOf(uint32_t place);
  Ring<Request>& queueOf(const Request& request);
  // Whether they can't be started beside each other, and so are taken together.
  bool isOneRun(const Request& request, const Request& next) const;
  static bool isIdle(const Place& place);
  uint32_t idleOnesComing(const Place& but) const;
  Place* freeSleeper();
  void call(Place& sleeper, Handlers& woken);
  void rouse(Place& place, Handlers& woken);

  const bool has_affinity_;
  const uint32_t max_in_flight_;
  std::vector<Place> places_;
  // Where connections of retired places are.
  std::map<ChannelId, uint32_t> moved_;
  Ring<Request> queue_;
  uint32_t runs_ = 0;
  uint32_t queued_ = 0;
  uint32_t asleep_ = 0;
};

}  // namespace odradek
