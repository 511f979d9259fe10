// The fake kernel with the plan's faults: every system call may fail, be interrupted, or let other
// threads run first. The kernel's own rules hold: a fault is one that a real kernel may show.
#pragma once

#include <map>

#include "../core/memory.h"
#include "../test/fake_memory.h"
#include "client.h"
#include "stage.h"

namespace odradek::sim {

class FaultySockets final : public SocketOps {
 public:
  explicit FaultySockets(Stage& stage) : stage_(stage) {}

  // Whose connection this is; what befalls it is told to the model.
  void watch(Client& client) { clients_[&client.socket()] = &client; }
  // The connection with this descriptor, if it is one, can't go on.
  void connectionFailed(int fd) {
    if (Client* client = clientAt(fd); client != nullptr) client->hasFailed();
  }

  int listen(const Endpoint& where, int backlog, Endpoint* bound, const char** step) override;
  int accept(int listener, Endpoint* local, Endpoint* remote) override;
  ssize_t read(int fd, const iovec* parts, int count) override;
  ssize_t write(int fd, const iovec* parts, int count) override;
  int shutdownWrite(int fd) override;
  int takeError(int fd) override;
  // Never gives way: called with a processor's mutex held.
  void close(int fd) override;
  int openSpare() override;

 private:
  Client* clientAt(int fd);

  Stage& stage_;
  std::map<const test::FakeConnection*, Client*> clients_;
};

class FaultyMemory final : public Memory {
 public:
  explicit FaultyMemory(Stage& stage) : stage_(stage) {}

  void* allocate(size_t bytes) override;
  void release(void* memory, size_t bytes) override { memory_.release(memory, bytes); }
  int64_t live() const { return memory_.live; }

 private:
  Stage& stage_;
  test::FakeMemory memory_;
};

}  // namespace odradek::sim
