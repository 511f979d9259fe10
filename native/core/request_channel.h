// Kafka's RequestChannel: the one bounded queue between processors and request handlers.
//
// Bounds (contract 2): `queued_max_requests` frames that no handler has taken, counted from the
// moment at which a processor takes a permit for them, and `max_pending_requests` that were taken
// and are not answered. A processor that gets no permit mutes the connection and is a waiter; the
// handlers' claims hand the freed permits to the waiters, longest waiting first. Nobody blocks:
// the lock is held for the moves of one batch.
//
// Who takes the requests is one consumer, rung for every batch, or a pool of handler threads, of
// which as many as can find something are rung, and none that is at work. See HandlerSet.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "consumer.h"
#include "handler_set.h"
#include "request.h"
#include "ring.h"

namespace odradek {

// A processor as the request channel sees it.
class PermitWaiter {
 public:
  // Called by another thread, with the channel's lock released: permits were granted.
  virtual void permitsGranted() = 0;

 protected:
  ~PermitWaiter() = default;

 private:
  friend class RequestChannel;
  bool waiting_ = false;
  uint32_t granted_ = 0;
};

class RequestHandler;

class RequestChannel {
 public:
  // `handlers`: the pool, where there is one; else the consumer claims.
  RequestChannel(uint32_t queued_max_requests, uint32_t max_pending_requests, Consumer& consumer,
                 std::unique_ptr<HandlerSet> handlers = nullptr)
      : room_(queued_max_requests),
        max_pending_(max_pending_requests),
        consumer_(consumer),
        handlers_(std::move(handlers)) {}
  RequestChannel(const RequestChannel&) = delete;
  RequestChannel& operator=(const RequestChannel&) = delete;
  ~RequestChannel();

  // A processor asks for permits to complete frames: up to kPermitQuantum. With none left, or
  // while others wait, it gets 0 and is a waiter from now on.
  uint32_t acquire(PermitWaiter& waiter);

  // Takes the permits that a waiter was granted.
  uint32_t collectGrant(PermitWaiter& waiter);

  // Queues requests, one permit each, gives back `unused` permits, and rings who takes them.
  void push(std::vector<Request>& requests, uint32_t unused);

  // The consumer takes requests: at most `most`, and no further than max_pending_requests. Returns
  // false if requests are left that could be taken. Where there is a pool, none are its.
  bool claim(std::vector<Request>& taken, size_t most);

  // Claimed requests gave back `count` places in max_pending_requests (answered, dropped, or not
  // started after all); below 0: requests that had given theirs back were started. Rings the
  // consumer if claims had stopped at the bound.
  void release(int32_t count);

  // --- A pool of handler threads

  bool hasPool() const { return handlers_ != nullptr; }
  bool hasAffinity() const { return hasPool() && handlers_->hasAffinity(); }

  // A thread takes its place, or another one takes it over; and leaves it.
  void enter(uint32_t place, std::shared_ptr<RequestHandler> handler);
  void leave(uint32_t place, const RequestHandler& handler);
  // Nobody enters the place any more: others get what waits for it, and its connections.
  void retire(uint32_t place);

  // With affinity: the place for a new connection; and the connection's end.
  uint32_t assign();
  void unassign(uint32_t place, const ChannelId& channel);

  // claim() for a thread of the pool: see HandlerSet::takeRun(). Of those taken as many count as
  // pending as may be started at once: `*counted`.
  bool claimRun(uint32_t place, std::vector<Request>& taken, uint32_t* counted);
  // True: nothing is there to be claimed, and the thread is rung when there is.
  bool rest(uint32_t place);
  // The thread wants no requests for now, and isn't rung for them.
  void abstain(uint32_t place);
  // Requests that were claimed and not started go back to the head of the queue.
  void putBack(const std::vector<Request>& requests);

  // Replies to `count` requests wait for earlier ones of their connection, below 0: their turn has
  // come. They count as pending, or one slow request would let others pile up their replies. What
  // is on its way to its processor counts as neither, for a moment.
  void keep(int32_t count);

  // Tells one thread of the pool, or all in whose bits of `places` (place modulo 64) a 1 stands.
  void tell(uint32_t place, Event* event);
  void tellAll(const Event& event, uint64_t places);

  // The server ends: from here on nothing is claimed and no permit is granted, or what its last
  // requests leave free would let others in.
  void shut();
  // It starts after all: a start that failed may be tried again.
  void open();
  // The server has ended: what is left belongs to connections that are closed.
  void clear();

  // A processor that ends takes no more permits.
  void forget(PermitWaiter& waiter);

  // One that was forgotten takes permits again.
  void welcome(PermitWaiter& waiter);

  uint32_t queued() const;
  // When the oldest request that nobody has taken was received; INT64_MAX: there is none.
  int64_t oldestNs() const;
  uint32_t pending() const;

 private:
  uint32_t takeRoom();
  void grantRoom();
  uint32_t pendingRoom() const;
  bool endStarving(HandlerSet::Handlers& woken);
  bool isClaimable(uint32_t place);
  void pushToPool(const std::vector<Request>& requests, HandlerSet::Handlers& woken);
  static void ring(const HandlerSet::Handlers& handlers);

  mutable std::mutex mutex_;
  Ring<Request> queue_;
  // Permits nobody holds; below 0 by requests that came back when others had taken their room.
  int64_t room_;
  uint32_t pending_ = 0;
  int64_t kept_ = 0;
  const uint32_t max_pending_;
  bool is_shut_ = false;
  bool starved_ = false;  // a claim stopped at max_pending_ with requests left
  Ring<PermitWaiter*> waiters_;
  // Waiters to be told once the lock is released.
  std::vector<PermitWaiter*> to_wake_;
  Consumer& consumer_;
  const std::unique_ptr<HandlerSet> handlers_;
};

}  // namespace odradek
