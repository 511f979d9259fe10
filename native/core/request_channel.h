// Kafka's RequestChannel: the one bounded queue between processors and request handlers.
//
// Bounds (contract 2): `queued_max_requests` frames that no handler has taken, counted from the
// moment at which a processor takes a permit for them, and `max_pending_requests` that were taken
// and are not answered. A processor that gets no permit mutes the connection and is a waiter; the
// handlers' claims hand the freed permits to the waiters, longest waiting first. Nobody blocks:
// the lock is held for the moves of one batch.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "consumer.h"
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

class RequestChannel {
 public:
  RequestChannel(uint32_t queued_max_requests, uint32_t max_pending_requests, Consumer& consumer)
      : room_(queued_max_requests), max_pending_(max_pending_requests), consumer_(consumer) {}
  RequestChannel(const RequestChannel&) = delete;
  RequestChannel& operator=(const RequestChannel&) = delete;
  ~RequestChannel();

  // A processor asks for permits to complete frames: up to kPermitQuantum. With none left, or
  // while others wait, it gets 0 and is a waiter from now on.
  uint32_t acquire(PermitWaiter& waiter);

  // Takes the permits that a waiter was granted.
  uint32_t collectGrant(PermitWaiter& waiter);

  // Queues requests, one permit each, gives back `unused` permits, and rings the consumer.
  void push(std::vector<Request>& requests, uint32_t unused);

  // A handler thread takes requests: at most `most`, and no further than max_pending_requests.
  // Returns false if requests are left that could be taken.
  bool claim(std::vector<Request>& taken, size_t most);

  // Claimed requests gave back `count` places in max_pending_requests (answered, dropped, or not
  // started after all); below 0: requests that had given theirs back were started. Rings the
  // consumer if claims had stopped at the bound.
  void release(int32_t count);

  // The server has ended: what is left belongs to connections that are closed.
  void clear();

  // A processor that ends takes no more permits.
  void forget(PermitWaiter& waiter);

  // One that was forgotten takes permits again.
  void welcome(PermitWaiter& waiter);

  uint32_t queued() const;
  uint32_t pending() const;

 private:
  void grantRoom();

  mutable std::mutex mutex_;
  Ring<Request> queue_;
  uint32_t room_;  // permits nobody holds
  uint32_t pending_ = 0;
  const uint32_t max_pending_;
  bool starved_ = false;  // a claim stopped at max_pending_ with requests left
  Ring<PermitWaiter*> waiters_;
  // Waiters to be told once the lock is released.
  std::vector<PermitWaiter*> to_wake_;
  Consumer& consumer_;
};

}  // namespace odradek
