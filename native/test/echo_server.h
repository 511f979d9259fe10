// The core's server over the real system, with a handler thread that echoes: what the addon and
// TypeScript are in the product. Its platform counts what it gives out and refuses on demand.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "../core/socket_server.h"
#include "fake_memory.h"

namespace odradek::test {

// The real system; the n-th poller or thread (from 0) can be made to fail.
class TestPlatform final : public Platform, public ThreadStarter {
 public:
  std::unique_ptr<Poller> makePoller() override;
  SocketOps& sockets() override;
  Clock& clock() override;
  Memory& memory() override { return frame_memory; }
  ThreadStarter& threads() override { return *this; }

  std::unique_ptr<Thread> start(const char* name, void (*body)(void*), void* argument,
                                int* error) override;

  int failing_poller = -1;
  int failing_thread = -1;
  int pollers = 0;
  int threads_started = 0;
  FakeMemory frame_memory;
};

// Answers every request by its own frame. At its end all memory must be back.
class EchoServer final : public Consumer {
 public:
  explicit EchoServer(ServerConfig config);
  ~EchoServer();

  StartError start();
  // Returns when as many processors serve, or nothing was changed.
  StartError resize(uint32_t network_threads);
  // Ends the handler thread, then the server.
  void stop(CloseReason reason = CloseReason::kServerClosed);
  uint16_t port(size_t listener = 0) const { return server->listeners()[listener]->bound.port; }

  // Blocks until `count` connections have been reported closed (bounded by the test's time limit);
  // their reasons, in the order of the reports.
  std::vector<CloseReason> awaitClosed(size_t count);

  TestPlatform platform;
  std::unique_ptr<SocketServer> server;
  // While set, requests are left in the queue.
  std::atomic<bool> is_paused{false};
  std::atomic<uint64_t> answered{0};
  std::atomic<uint64_t> opened{0};
  std::atomic<int> fatal{0};
  std::atomic<int> left{0};

 protected:
  void wake() override;

 private:
  void run();
  void takeEvents();
  void answer(const std::vector<Request>& requests);

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_woken_ = false;
  bool is_ended_ = false;
  std::vector<CloseReason> closed_;
};

}  // namespace odradek::test
