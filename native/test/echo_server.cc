#include "echo_server.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "../platform/default_poller.h"
#include "../platform/system_platform.h"

namespace odradek::test {
namespace {

class UnopenablePoller final : public Poller {
 public:
  int open() override { return EMFILE; }
  int add(int, uint64_t) override { return EBADF; }
  void remove(int) override {}
  int wait(PollEvent*, int, int64_t) override { return -EBADF; }
  void wake() override {}
  int descriptor() const override { return -1; }
};

}  // namespace

std::unique_ptr<Poller> TestPlatform::makePoller() {
  if (pollers++ == failing_poller) return std::make_unique<UnopenablePoller>();
  return systemPlatform().makePoller();
}

SocketOps& TestPlatform::sockets() { return systemPlatform().sockets(); }

Clock& TestPlatform::clock() { return systemPlatform().clock(); }

std::unique_ptr<Thread> TestPlatform::start(const char* name, void (*body)(void*), void* argument,
                                            int* error) {
  *error = EAGAIN;
  if (threads_started == failing_thread) return nullptr;
  threads_started++;
  return systemPlatform().threads().start(name, body, argument, error);
}

EchoServer::EchoServer(ServerConfig config)
    : server(std::make_unique<SocketServer>(std::move(config), platform, *this)) {}

EchoServer::~EchoServer() {
  stop();
  server.reset();
  EXPECT_EQ(platform.frame_memory.live, 0);
}

StartError EchoServer::start() {
  const StartError error = server->start();
  if (error.step == StartError::Step::kNone) thread_ = std::thread([this] { run(); });
  return error;
}

StartError EchoServer::resize(uint32_t network_threads) {
  int seen = left;
  const StartError error = server->resize(network_threads);
  // Joins, and so without the mutex that a leaving thread may want.
  while (server->isResizing()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return left != seen; });
    seen = left;
  }
  return error;
}

void EchoServer::stop(CloseReason reason) {
  if (thread_.joinable()) {
    {
      std::lock_guard lock(mutex_);
      is_ended_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }
  server->stop(reason);
  server->requests().clear();
  takeEvents();
}

void EchoServer::wake() {
  std::lock_guard lock(mutex_);
  is_woken_ = true;
  changed_.notify_all();
}

void EchoServer::run() {
  std::vector<Request> claimed;
  while (true) {
    doorbell().awake();
    const bool is_drained = is_paused || server->requests().claim(claimed, 100);
    // After the claim: a connection's opening was posted before its first request.
    takeEvents();
    answer(claimed);
    claimed.clear();
    std::unique_lock lock(mutex_);
    if (is_ended_) return;
    lock.unlock();
    if (!is_drained || !doorbell().trySleep()) continue;
    lock.lock();
    changed_.wait(lock, [this] { return is_woken_ || is_ended_; });
    is_woken_ = false;
  }
}

void EchoServer::takeEvents() {
  Event* event = events().takeAll();
  while (event != nullptr) {
    if (event->kind == Event::Kind::kOpened) opened++;
    if (event->kind == Event::Kind::kFatal) fatal++;
    if (event->kind == Event::Kind::kLeft) {
      std::lock_guard lock(mutex_);
      left++;
      changed_.notify_all();
    }
    if (event->kind == Event::Kind::kClosed) {
      std::lock_guard lock(mutex_);
      closed_.push_back(event->reason);
      changed_.notify_all();
    }
    delete std::exchange(event, event->next);
  }
}

void EchoServer::answer(const std::vector<Request>& requests) {
  std::vector<CommandBatch*> batches(server->processors().size());
  for (const Request& request : requests) {
    Command reply;
    reply.channel = request.channel;
    reply.sequence = request.sequence;
    reply.settles = 1;
    // The frame itself goes back, from the memory in which it was received.
    reply.block = request.block;
    reply.offset = request.offset;
    reply.length = request.frame_bytes;
    CommandBatch*& batch = batches[request.channel.processor];
    if (batch == nullptr) batch = new CommandBatch();
    batch->commands.push_back(reply);
  }
  for (uint32_t i = 0; i < batches.size(); i++) {
    if (batches[i] != nullptr) server->submit(i, batches[i]);
  }
  server->requests().release(static_cast<int32_t>(requests.size()));
  answered += requests.size();
}

std::vector<CloseReason> EchoServer::awaitClosed(size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_.size() >= count; });
  return closed_;
}

}  // namespace odradek::test
