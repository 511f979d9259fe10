#include "faulty_system.h"

#include <cerrno>

namespace odradek::sim {

Client* FaultySockets::clientAt(int fd) {
  const auto found = clients_.find(stage_.kernel.connectionAt(fd));
  return found == clients_.end() ? nullptr : found->second;
}

int FaultySockets::listen(const Endpoint& where, int backlog, Endpoint* bound, const char** step) {
  return stage_.kernel.listen(where, backlog, bound, step);
}

int FaultySockets::accept(int listener, Endpoint* local, Endpoint* remote) {
  stage_.mayGiveWay();
  if (stage_.strikes(Fault::kAcceptInterrupted)) return -EINTR;
  if (stage_.strikes(Fault::kAcceptAborted)) return -ECONNABORTED;
  if (stage_.strikes(Fault::kAcceptNoBuffers)) return -ENOBUFS;
  if (stage_.strikes(Fault::kSystemDescriptorsOut)) return -ENFILE;
  const int fd = stage_.kernel.accept(listener, local, remote);
  if (fd == -EMFILE) stage_.tally.count(Fault::kDescriptorsOut);
  stage_.trace.note("accept: %d", fd);
  return fd;
}

ssize_t FaultySockets::read(int fd, const iovec* parts, int count) {
  stage_.mayGiveWay();
  Client* client = clientAt(fd);
  if (client == nullptr) return stage_.kernel.read(fd, parts, count);
  if (stage_.strikes(Fault::kReadInterrupted)) return -EINTR;
  if (stage_.strikes(Fault::kReadAgain)) {
    // Edge-triggered: the kernel says once more that there is something to read.
    client->socket().reportSpuriously();
    client->serverWasPutOff();
    return -EAGAIN;
  }
  if (stage_.strikes(Fault::kReadError)) {
    client->hasFailed();
    return -ETIMEDOUT;
  }
  const ssize_t result = stage_.kernel.read(fd, parts, count);
  if (result > 0) client->serverRead(static_cast<size_t>(result));
  stage_.trace.note("client %u is read: %zd", client->number(), result);
  return result;
}

ssize_t FaultySockets::write(int fd, const iovec* parts, int count) {
  stage_.mayGiveWay();
  Client* client = clientAt(fd);
  if (client == nullptr) return stage_.kernel.write(fd, parts, count);
  if (stage_.strikes(Fault::kWriteInterrupted)) return -EINTR;
  if (stage_.strikes(Fault::kWriteAgain)) {
    client->serverWasBlocked();
    client->socket().reportSpuriously();
    return -EAGAIN;
  }
  if (stage_.strikes(Fault::kWriteNoBuffers)) {
    client->hasFailed();
    return -ENOBUFS;
  }
  if (stage_.strikes(Fault::kWriteError)) {
    client->hasFailed();
    return -EPIPE;
  }
  if (stage_.strikes(Fault::kWriteCut)) client->socket().cutWrite(1 + stage_.random.below(30));
  const ssize_t result = stage_.kernel.write(fd, parts, count);
  if (result > 0) client->serverWrote(static_cast<size_t>(result));
  size_t given = 0;
  for (int i = 0; i < count; i++) given += parts[i].iov_len;
  if (result < static_cast<ssize_t>(given)) client->serverWasBlocked();
  stage_.trace.note("client %u is written to: %zd", client->number(), result);
  return result;
}

int FaultySockets::shutdownWrite(int fd) {
  stage_.mayGiveWay();
  Client* client = clientAt(fd);
  if (client != nullptr && stage_.strikes(Fault::kShutdownFailed)) {
    client->hasFailed();
    return ENOTCONN;
  }
  if (client != nullptr) client->serverShut();
  return stage_.kernel.shutdownWrite(fd);
}

int FaultySockets::takeError(int fd) {
  stage_.mayGiveWay();
  return stage_.kernel.takeError(fd);
}

void FaultySockets::close(int fd) {
  if (Client* client = clientAt(fd); client != nullptr) {
    client->serverClosed();
    stage_.trace.note("the socket of client %u is closed", client->number());
  }
  stage_.kernel.close(fd);
}

int FaultySockets::openSpare() {
  stage_.mayGiveWay();
  return stage_.kernel.openSpare();
}

void* FaultyMemory::allocate(size_t bytes) {
  if (stage_.strikes(Fault::kMemoryRefused)) {
    stage_.was_memory_refused = true;
    stage_.trace.note("%zu bytes of memory refused", bytes);
    return nullptr;
  }
  return memory_.allocate(bytes);
}

}  // namespace odradek::sim
