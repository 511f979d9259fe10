// Kafka's KafkaRequestHandler: one thread of the handler pool, as the core sees it. It claims
// requests, as many as it can start, and gives its commands to the processors directly.
//
// The server owns it and detaches it, from another thread and at any moment: then every call of
// the thread finds nothing, and what it had claimed is told apart into what it had started and what
// another thread may start. Its own thread may be blocked in the middle of a handler, or gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "connection_directory.h"
#include "consumer.h"
#include "counter.h"
#include "in_work.h"
#include "request.h"
#include "request_channel.h"

namespace odradek {

// The processors, as a handler thread knows them.
class CommandSink {
 public:
  virtual void submit(uint32_t processor, CommandBatch* batch) = 0;
  virtual std::optional<ConnectionInfo> describe(const ChannelId& channel) = 0;

 protected:
  ~CommandSink() = default;
};

// Wakes a thread out of its event loop.
class Waker {
 public:
  virtual void wake() = 0;
  // Whether it waits there at this moment, and so comes at once when it is woken. False where that
  // isn't known.
  virtual bool isWaiting() = 0;

 protected:
  ~Waker() = default;
};

// Where several threads answer one connection: a reply's parts get the sequence of the command that
// follows them and settles it, so that all wait for their turn together. `commands` have every
// part of a reply that they have one of.
void tieParts(std::vector<Command>& commands);

class RequestHandler final : public Consumer {
 public:
  // `place`: which of the pool's; `capacity`: requests that it may have claimed at a time.
  RequestHandler(uint32_t place, uint32_t capacity, uint32_t max_in_flight,
                 RequestChannel& requests, CommandSink& processors);
  ~RequestHandler();

  uint32_t place() const { return place_; }
  // Requests that it may have started; and all that it has claimed.
  uint32_t inWork() const { return in_work_count_.load(std::memory_order_relaxed); }
  uint64_t claimed() const { return claimed_.value(); }

  // Any thread. Whether its thread, which sleeps, is free for sure: it may be at work in what one
  // of its promises began.
  bool isWaiting();

  // --- Its own thread

  // From here on it can be woken. `marks` are `capacity` bytes, by ticket, not 0 if the request was
  // started; and one that detach() sets before it reads them, as the thread reads that one after
  // it has marked. They live until leave(). False: the server has detached it already.
  bool enter(Waker& waker, uint8_t* marks);
  // The thread ends: nothing of it is touched any more. What it has claimed stays until detach().
  void leave();

  // The next requests that it can start one after the other, and their tickets. A reference to
  // each block goes along. False: there are more to be claimed.
  bool claim(std::vector<Request>& taken, std::vector<uint32_t>& tickets);

  // Whether it may sleep. If so, and it wants requests, it is woken for the next one.
  bool rest(bool wants_requests);

  // Hands commands to their processors; those for requests that it doesn't have are dropped.
  void submit(std::vector<Command>& commands);

  std::optional<ConnectionInfo> describe(const ChannelId& channel);

  // The connection has ended: what was claimed of it counts no more.
  void forget(const ChannelId& channel);

  // --- The server's thread

  // What the thread leaves behind. References go along.
  struct Remains {
    // To be answered, connection by connection, in order.
    std::vector<Request> started;
    // Behind started ones of their connection, which come first: for putBack() then.
    std::vector<Request> waiting;
    // Requests that went back to the head of the queue.
    uint32_t put_back = 0;

    // Gives the references back.
    void letGo() const;
  };
  Remains detach();

 private:
  void wake() override;
  void countWork(uint32_t before);

  const uint32_t place_;
  const uint32_t capacity_;
  // Requests that a claim may take.
  const uint32_t longest_run_;

  std::mutex mutex_;
  RequestChannel* requests_;  // null: detached
  CommandSink& processors_;
  InWork in_work_;
  uint8_t* marks_ = nullptr;
  std::vector<uint8_t> last_marks_;
  std::vector<CommandBatch*> batches_;
  std::atomic<uint32_t> in_work_count_{0};
  Counter claimed_;

  std::mutex waker_mutex_;
  Waker* waker_ = nullptr;
};

}  // namespace odradek
