#include "fake_kernel.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace odradek::test {
namespace {

constexpr int kFirstDescriptor = 3;

// The next scripted error, negated, or 0.
int takeFault(std::deque<int>& faults) {
  if (faults.empty()) return 0;
  const int error = faults.front();
  faults.pop_front();
  return -error;
}

}  // namespace

// --- Sources and pollers -----------------------------------------------------------------------

void FakeSource::notify() {
  if (poller_ == nullptr || is_queued_) return;
  is_queued_ = true;
  poller_->queue_.push_back(this);
}

FakePoller::~FakePoller() {
  for (auto& [fd, source] : kernel_.table_) {
    if (source != nullptr && source->poller_ == this) source->poller_ = nullptr;
  }
}

int FakePoller::open() {
  is_open_ = open_error_ == 0;
  return open_error_;
}

int FakePoller::add(int fd, uint64_t token) {
  if (!add_errors_.empty()) return -takeFault(add_errors_);
  const auto found = kernel_.table_.find(fd);
  if (!is_open_ || found == kernel_.table_.end() || found->second == nullptr) {
    kernel_.misuse("add", fd);
    return EBADF;
  }
  FakeSource* source = found->second;
  if (source->poller_ != nullptr) kernel_.misuse("add of a watched one", fd);
  source->poller_ = this;
  source->token_ = token;
  // As epoll does: what holds at this moment is an event.
  const PollEvent state = source->look();
  if (state.readable || state.writable || state.failed) source->notify();
  return 0;
}

int FakePoller::awaitRoom(int fd, uint64_t token) {
  const auto found = kernel_.table_.find(fd);
  if (found == kernel_.table_.end() || found->second == nullptr || found->second->poller_ != this ||
      found->second->token_ != token) {
    kernel_.misuse("awaitRoom", fd);
    return EBADF;
  }
  if (!tells_room_on_demand) return 0;
  FakeSource* source = found->second;
  source->awaits_room_ = true;
  if (source->look().writable) source->notify();
  return 0;
}

void FakePoller::remove(int fd) {
  const auto found = kernel_.table_.find(fd);
  if (found == kernel_.table_.end() || found->second == nullptr || found->second->poller_ != this) {
    kernel_.misuse("remove", fd);
    return;
  }
  FakeSource* source = found->second;
  std::erase(queue_, source);
  source->is_queued_ = false;
  source->awaits_room_ = false;
  source->poller_ = nullptr;
}

int FakePoller::wait(PollEvent* events, int capacity, int64_t timeout_ns) {
  waits++;
  last_timeout_ns = timeout_ns;
  slept = false;
  if (lost_ != 0) return -lost_;
  if (!is_open_) kernel_.misuse("wait", -1);
  int count = collect(events, capacity);
  if (count > 0) return count;
  if (timeout_ns == 0 || woken_) {
    woken_ = false;
    return 0;
  }
  slept = true;
  if (on_sleep) on_sleep();
  woken_ = false;
  return lost_ != 0 ? -lost_ : collect(events, capacity);
}

int FakePoller::collect(PollEvent* events, int capacity) {
  int count = 0;
  while (count < capacity && !injected_.empty()) {
    events[count++] = injected_.front();
    injected_.pop_front();
  }
  while (count < capacity && !queue_.empty()) {
    FakeSource* source = queue_.front();
    queue_.pop_front();
    source->is_queued_ = false;
    PollEvent& event = events[count];
    event = source->look();
    event.token = source->token_;
    if (tells_room_on_demand) {
      event.writable = event.writable && std::exchange(source->awaits_room_, false);
      const bool is_empty =
          !event.readable && !event.writable && !event.peer_closed && !event.failed;
      if (is_empty) continue;
    }
    count++;
  }
  return count;
}

void FakePoller::wake() {
  wakes++;
  woken_ = true;
}

// --- A connection, as its client sees it -------------------------------------------------------

void FakeConnection::send(std::string_view bytes) {
  if (is_reset_ || client_reset_) return;
  if (!isOpen() && outbound_end_) {
    // The server has closed: its kernel answers by a reset.
    client_reset_ = true;
    outbound_.clear();
    return;
  }
  inbound_ += bytes;
  if (!bytes.empty()) notify();
}

void FakeConnection::sendUrgent(std::string_view bytes) {
  urgent_at_ = inbound_.size() + bytes.size() - 1;
  send(bytes);
}

void FakeConnection::end() {
  if (is_reset_) return;
  inbound_end_ = true;
  notify();
}

void FakeConnection::close() {
  if (!outbound_.empty()) return reset();
  client_gone_ = true;
  end();
}

void FakeConnection::reset() { fail(ECONNRESET); }

void FakeConnection::fail(int error) {
  if (is_reset_) return;
  is_reset_ = true;
  inbound_.clear();
  inbound_end_ = true;
  outbound_.clear();
  error_ = error;
  notify();
}

std::string FakeConnection::take(size_t most) {
  std::string taken = outbound_.substr(0, most);
  outbound_.erase(0, taken.size());
  if (is_full_ && outbound_.size() < window_) {
    is_full_ = false;
    notify();
  }
  return taken;
}

void FakeConnection::setWindow(size_t bytes) {
  window_ = bytes;
  if (outbound_.size() >= window_) {
    // Room that was there, or announced, is gone: its return makes an event.
    is_full_ = true;
  } else if (is_full_) {
    is_full_ = false;
    notify();
  }
}

void FakeConnection::failReads(std::initializer_list<int> errors) {
  read_faults_.insert(read_faults_.end(), errors);
}

void FakeConnection::failWrites(std::initializer_list<int> errors) {
  write_faults_.insert(write_faults_.end(), errors);
}

// --- A connection, as the server's kernel sees it ----------------------------------------------

PollEvent FakeConnection::look() {
  is_full_ = !is_reset_ && outbound_.size() >= window_;
  return {
      .readable = !inbound_.empty() || inbound_end_ || error_ != 0,
      .writable = !is_full_,
      .peer_closed = inbound_end_,
      .urgent = urgent_at_ != std::string::npos,
      .failed = error_ != 0,
  };
}

ssize_t FakeConnection::serverRead(const iovec* parts, int count) {
  reads++;
  if (const int fault = takeFault(read_faults_); fault != 0) {
    if (fault == -EAGAIN) notify();
    return fault;
  }
  if (error_ != 0) return -std::exchange(error_, 0);
  if (inbound_.empty()) return inbound_end_ ? 0 : -EAGAIN;
  const size_t most = urgent_at_ == 0 ? inbound_.size() : std::min(urgent_at_, inbound_.size());
  size_t done = 0;
  for (int i = 0; i < count; i++) {
    const size_t piece = std::min(parts[i].iov_len, most - done);
    std::memcpy(parts[i].iov_base, inbound_.data() + done, piece);
    done += piece;
  }
  inbound_.erase(0, done);
  // Past the mark it is ordinary data (as with SO_OOBINLINE, which a program can't tell apart).
  if (urgent_at_ != std::string::npos) {
    urgent_at_ = urgent_at_ == 0 ? std::string::npos : urgent_at_ - std::min(urgent_at_, done);
  }
  return static_cast<ssize_t>(done);
}

ssize_t FakeConnection::serverWrite(const iovec* parts, int count) {
  writes++;
  if (const int fault = takeFault(write_faults_); fault != 0) {
    if (fault == -EAGAIN) {
      is_full_ = outbound_.size() >= window_;
      notify();
    }
    return fault;
  }
  if (error_ != 0) return -std::exchange(error_, 0);
  if (is_reset_ || outbound_end_) return -EPIPE;
  std::string bytes;
  for (int i = 0; i < count; i++) {
    bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
  }
  if (client_gone_) {
    fail(ECONNRESET);
    return static_cast<ssize_t>(bytes.size());
  }
  size_t room = outbound_.size() < window_ ? window_ - outbound_.size() : 0;
  const bool is_cut = cut_write_ > 0 && cut_write_ < std::min(room, bytes.size());
  if (is_cut) room = std::exchange(cut_write_, 0);
  const size_t taken = std::min(room, bytes.size());
  outbound_.append(bytes, 0, taken);
  if (taken < bytes.size()) is_full_ = !is_cut;
  if (is_cut) notify();
  return taken == 0 ? -EAGAIN : static_cast<ssize_t>(taken);
}

int FakeConnection::serverShutdown() {
  if (shutdown_error_ != 0) return shutdown_error_;
  if (is_reset_) return ENOTCONN;
  outbound_end_ = true;
  return 0;
}

void FakeConnection::serverClose() {
  if (!is_reset_ && !inbound_.empty()) {
    client_reset_ = true;
    outbound_.clear();
  }
  outbound_end_ = true;
  inbound_.clear();
}

// --- Listeners ---------------------------------------------------------------------------------

PollEvent FakeListener::look() { return {.readable = !waiting_.empty()}; }

void FakeListener::failAccepts(std::initializer_list<int> errors) {
  faults_.insert(faults_.end(), errors);
  notify();
}

// --- System calls ------------------------------------------------------------------------------

int FakeKernel::open(FakeSource* source) {
  if (table_.size() >= most_descriptors_) return -EMFILE;
  int fd = kFirstDescriptor;
  for (const auto& [taken, unused] : table_) {
    if (taken != fd) break;
    fd++;
  }
  table_[fd] = source;
  if (source != nullptr) source->fd_ = fd;
  return fd;
}

void FakeKernel::misuse(const char* call, int fd) {
  misuses_.push_back(std::string(call) + " of descriptor " + std::to_string(fd));
}

FakeConnection* FakeKernel::connectionAt(int fd) {
  const auto found = table_.find(fd);
  auto* source = found == table_.end() ? nullptr : found->second;
  for (const auto& known : connections_) {
    if (known.get() == source) return known.get();
  }
  return nullptr;
}

FakeConnection* FakeKernel::connection(int fd, const char* call) {
  FakeConnection* found = connectionAt(fd);
  if (found == nullptr) misuse(call, fd);
  return found;
}

int FakeKernel::listen(const Endpoint& where, int, Endpoint* bound, const char** step) {
  *step = "bind";
  *bound = where;
  if (bound->port == 0) bound->port = next_port_++;
  return openListener().fd();
}

int FakeKernel::accept(int fd, Endpoint* local, Endpoint* remote) {
  const auto found = table_.find(fd);
  for (const auto& listener : listeners_) {
    if (found == table_.end() || found->second != listener.get()) continue;
    listener->accepts++;
    if (const int fault = takeFault(listener->faults_); fault != 0) return fault;
    if (listener->waiting_.empty()) return -EAGAIN;
    const int accepted = open(listener->waiting_.front());
    if (accepted < 0) return accepted;
    *local = {"127.0.0.1", 9092, {}};
    const FakeConnection& client = *listener->waiting_.front();
    *remote = {"127.0.0.1", client.port, client.ip};
    listener->waiting_.pop_front();
    return accepted;
  }
  misuse("accept", fd);
  return -EBADF;
}

ssize_t FakeKernel::read(int fd, const iovec* parts, int count) {
  FakeConnection* socket = connection(fd, "read");
  return socket == nullptr ? -EBADF : socket->serverRead(parts, count);
}

ssize_t FakeKernel::write(int fd, const iovec* parts, int count) {
  FakeConnection* socket = connection(fd, "write");
  return socket == nullptr ? -EBADF : socket->serverWrite(parts, count);
}

int FakeKernel::shutdownWrite(int fd) {
  FakeConnection* socket = connection(fd, "shutdown");
  return socket == nullptr ? EBADF : socket->serverShutdown();
}

int FakeKernel::takeError(int fd) {
  FakeConnection* socket = connection(fd, "takeError");
  return socket == nullptr ? EBADF : std::exchange(socket->error_, 0);
}

void FakeKernel::close(int fd) {
  const auto found = table_.find(fd);
  if (found == table_.end()) return misuse("close", fd);
  FakeSource* source = found->second;
  table_.erase(found);
  if (source == nullptr) return;
  if (FakePoller* poller = source->poller_; poller != nullptr) {
    std::erase(poller->queue_, source);
  }
  source->is_queued_ = false;
  source->poller_ = nullptr;
  source->fd_ = -1;
  for (const auto& known : connections_) {
    if (known.get() == source) known->serverClose();
  }
  for (const auto& known : listeners_) {
    if (known.get() != source) continue;
    // Whoever still waited to be accepted is refused.
    for (FakeConnection* waiting : known->waiting_) waiting->client_reset_ = true;
    known->waiting_.clear();
  }
}

int FakeKernel::openSpare() { return open(nullptr); }

// --- The script --------------------------------------------------------------------------------

FakeListener& FakeKernel::openListener() {
  listeners_.push_back(std::make_unique<FakeListener>());
  open(listeners_.back().get());
  return *listeners_.back();
}

FakeConnection& FakeKernel::connect(FakeListener& listener) {
  connections_.push_back(std::make_unique<FakeConnection>());
  FakeConnection& connection = *connections_.back();
  connection.port = next_port_++;
  if (listener.isOpen()) {
    listener.waiting_.push_back(&connection);
    listener.notify();
  } else {
    connection.client_reset_ = true;
  }
  return connection;
}

FakeConnection& FakeKernel::connected() {
  connections_.push_back(std::make_unique<FakeConnection>());
  open(connections_.back().get());
  return *connections_.back();
}

}  // namespace odradek::test
