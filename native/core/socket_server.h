// Kafka's SocketServer: the listeners' acceptors, the processors that all listeners share, and the
// request channel between them and the request handlers; each loop in a thread of its own.
//
// Belongs to the thread that made it. Before it is destroyed it must be stopped (stop() joins).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "acceptor.h"
#include "connection_quotas.h"
#include "consumer.h"
#include "framing.h"
#include "handovers.h"
#include "listener_ends.h"
#include "memory_pool.h"
#include "processor.h"
#include "processor_list.h"
#include "request_channel.h"
#include "request_handler.h"
#include "thread.h"

namespace odradek {

// What the system provides: the seams, and threads.
class Platform {
 public:
  virtual ~Platform() = default;
  virtual std::unique_ptr<Poller> makePoller() = 0;
  virtual SocketOps& sockets() = 0;
  virtual Clock& clock() = 0;
  virtual Memory& memory() = 0;
  virtual ThreadStarter& threads() = 0;
};

struct ListenerConfig {
  Endpoint where;
  int backlog = 511;
  Framing framing;
};

// How many bytes the server may have in its hands.
struct MemoryLimits {
  // Of requests, see MemoryPool.
  int64_t request_bytes = kUnlimitedBytes;
  // Of what its peers have not taken, see UnsentBytes.
  int64_t unsent_bytes = kUnlimitedBytes;
};

struct ServerConfig {
  std::vector<ListenerConfig> listeners;
  // 0: one processor without a thread of its own, driven by whoever owns the server.
  uint32_t network_threads = 1;
  uint32_t queued_max_requests = 500;
  uint32_t max_pending_requests = 65536;
  MemoryLimits memory;
  bool waits_for_accept = false;
  int64_t busy_poll_ns = 0;
  uint16_t max_in_flight_per_connection = 1;
  // Requests are claimed by handler threads of their own; else by the server's consumer.
  bool has_handler_pool = false;
  // Each connection's requests go to one of them.
  bool has_affinity = false;
  Timeouts timeouts;
  ConnectionLimits connections;
};

// A listener of a running server. Stays when it is removed, without its acceptor: connections that
// it let in refer to it, and so its number is never given to another one.
struct Listener {
  Framing framing;
  ChannelConfig channel;
  Endpoint bound;
  // The poller outlives the loop that other threads may still wake.
  std::unique_ptr<Poller> poller;
  std::unique_ptr<Acceptor> acceptor;
  std::unique_ptr<Thread> thread;
  // Of a removed one: how many connections it let in, and how many accepts failed.
  uint64_t accepted = 0;
  uint64_t errors = 0;
};

// Why start() failed: which step, for which listener (-1: none), with which errno.
struct StartError {
  enum class Step : uint8_t { kNone, kListen, kThread };
  Step step = Step::kNone;
  const char* call = "";
  int listener = -1;
  int error = 0;
};

class SocketServer final : public CommandSink {
 public:
  SocketServer(ServerConfig config, Platform& platform, Consumer& consumer);
  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;
  ~SocketServer();

  // Opens every listener and returns when every loop runs; or closes all again.
  StartError start();

  // More or fewer processors, while all of them serve; not where network_threads is 0, and not
  // while an earlier call goes on (isResizing). Where a thread can't be started, nothing has
  // changed. Otherwise those that are new serve when this returns, and those that leave have been
  // told: kLeft comes from each.
  StartError resize(uint32_t network_threads);

  // Joins the threads that have left; whether others are still to do so.
  bool isResizing();

  // Opens one more listener, with a number that no other one has had, while the others serve. What
  // it may do by itself was said by updateLimits(). It accepts from serveListener() on.
  StartError openListener(uint32_t number, const ListenerConfig& config);
  // On an error it is closed again.
  StartError serveListener(uint32_t number);

  // Stops accepting there; its connections end as all do by drain(), with kListenerRemoved.
  void drainListener(uint32_t number);

  // After that: what is left of them ends at once, with kDeadline.
  void cutListener(uint32_t number);

  // Replies to its connections since drainListener(); exact once all of them have ended.
  uint32_t answeredSinceDrain(uint32_t number) const;

  // Stops accepting; processors answer what they received and close each connection when done.
  void drain();

  // Closes, in order, the connections on which nothing is under way.
  void closeIdle();

  // From now on: how long peers may be waited for, how many connections there may be, how fast they
  // may come, and how many bytes the server may have in its hands.
  void updateLimits(const Timeouts& timeouts, ConnectionLimits connections,
                    const MemoryLimits& memory);

  // Ends every loop, closing what is open with `reason`. Idempotent.
  void stop(CloseReason reason);

  // A handler thread may come to this place of the pool, with `capacity` requests in its hands at a
  // time. Who was there before must have been closed.
  std::shared_ptr<RequestHandler> openHandler(uint32_t place, uint32_t capacity);

  // The thread at this place is gone, or nothing of it counts any more.
  RequestHandler::Remains closeHandler(uint32_t place);

  // The place will be empty; others get what is its.
  void retireHandler(uint32_t place);

  // Any thread that may give commands. Hands a batch to the processor with this id.
  void submit(uint32_t processor, CommandBatch* batch) override;

  std::optional<ConnectionInfo> describe(const ChannelId& channel) override;

  // The processor without a thread; null if all have one.
  Processor* threadless() const {
    const bool is_there = config_.network_threads == 0 && processors_.size() > 0;
    return is_there ? processors_[0] : nullptr;
  }
  // Where it waits.
  Poller* threadlessPoller() const {
    return threadless() == nullptr ? nullptr : processor_pollers_[0].get();
  }

  // For how long the longest waiting has waited now: a request that nobody has taken, or a
  // connection for room in their queue or for memory. 0: nobody waits.
  int64_t longestWaitNs() const;

  const ServerConfig& config() const { return config_; }
  RequestChannel& requests() { return requests_; }
  const ConnectionQuotas& quotas() const { return quotas_; }
  const MemoryPool& memoryPool() const { return memory_pool_; }
  const UnsentBytes& unsent() const { return unsent_; }
  // By place; null where there is no thread.
  const std::vector<std::shared_ptr<RequestHandler>>& handlers() const { return handlers_; }
  // By number; null where none was opened.
  const std::vector<std::unique_ptr<Listener>>& listeners() const { return listeners_; }
  // Also those that have left; any thread.
  const ProcessorList& processors() const { return processors_; }

 private:
  StartError open();
  StartError openProcessors();
  StartError openListeners();
  StartError startThreads();
  StartError makeProcessor();
  StartError startProcessor(Processor& processor);
  StartError addProcessors(size_t count);
  void removeProcessors(const std::vector<Processor*>& serving, size_t count);
  std::vector<Processor*> serving() const;
  void joinLeaving();
  void joinAcceptors();
  void closeListener(Listener& listener);
  void endListener(uint32_t number, ListenerEnds::Stage stage);
  void closeHandlers();

  const ServerConfig config_;
  Platform& platform_;
  Consumer& consumer_;
  RequestChannel requests_;
  // By place.
  std::vector<std::shared_ptr<RequestHandler>> handlers_;
  Handovers handovers_;
  MemoryPool memory_pool_;
  UnsentBytes unsent_;
  ConnectionQuotas quotas_;
  ListenerEnds ends_;
  Timeouts timeouts_;
  // Pollers outlive the loops that other threads may still wake.
  std::vector<std::unique_ptr<Poller>> processor_pollers_;
  std::vector<std::unique_ptr<Processor>> made_processors_;
  ProcessorList processors_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  // Null where one has left.
  std::array<std::unique_ptr<Thread>, kMaxProcessors> processor_threads_;
  std::vector<Processor*> leaving_;
};

}  // namespace odradek
