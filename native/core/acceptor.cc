#include "acceptor.h"

#include <cerrno>
#include <utility>

namespace odradek {

Acceptor::Acceptor(uint32_t listener, Seams seams, const ProcessorList& processors,
                   Consumer& consumer)
    : listener_(listener),
      poller_(seams.poller),
      sockets_(seams.sockets),
      clock_(seams.clock),
      processors_(processors),
      consumer_(consumer) {}

Acceptor::~Acceptor() { closeAll(); }

int Acceptor::open(int fd) {
  fd_ = fd;
  const int error = poller_.open();
  if (error != 0) return error;
  // Without a spare descriptor the acceptor still backs off, it only can't refuse clients.
  spare_ = sockets_.openSpare();
  is_readable_ = true;
  return poller_.add(fd, 0);
}

bool Acceptor::turn() {
  if (has_ended_) return false;
  poll();
  if (lost_ == 0 && !stop_asked_.load(std::memory_order_acquire)) {
    acceptConnections();
    return true;
  }
  if (lost_ != 0) {
    reportError(Event::Kind::kFatal, lost_);
  }
  closeAll();
  has_ended_ = true;
  return false;
}

void Acceptor::poll() {
  const bool waits_for_room = in_hand_.fd >= 0 && !has_room_.load(std::memory_order_acquire);
  int64_t timeout_ns = -1;
  if (backoff_until_ns_ != 0) {
    const int64_t left_ns = backoff_until_ns_ - clock_.now();
    timeout_ns = left_ns > 0 ? left_ns : 0;
  } else if (!waits_for_room && (is_readable_ || in_hand_.fd >= 0)) {
    timeout_ns = 0;
  }
  if (timeout_ns != 0 && !doorbell_.trySleep()) timeout_ns = 0;
  const int count = poller_.wait(events_.data(), static_cast<int>(events_.size()), timeout_ns);
  doorbell_.awake();
  if (count < 0 && count != -EINTR) lost_ = -count;
  if (count > 0) is_readable_ = true;
}

void Acceptor::acceptConnections() {
  if (in_hand_.fd >= 0 && !handOver()) return;
  if (backoff_until_ns_ != 0) {
    if (clock_.now() < backoff_until_ns_) return;
    backoff_until_ns_ = 0;
    if (spare_ < 0) spare_ = sockets_.openSpare();
  }
  for (int i = 0; i < kAcceptsPerTurn && is_readable_; i++) {
    NewConnection connection;
    connection.listener = listener_;
    connection.fd = sockets_.accept(fd_, &connection.local, &connection.remote);
    if (connection.fd >= 0) {
      in_hand_ = std::move(connection);
      if (!handOver()) return;
    } else {
      acceptFailed(-connection.fd);
    }
    if (backoff_until_ns_ != 0) return;
  }
}

// False: every queue is full. A processor will ring when it has room.
bool Acceptor::handOver() {
  has_room_.store(false, std::memory_order_release);
  const size_t count = processors_.size();
  size_t gone = 0;
  for (size_t i = 0; i < count; i++) {
    Processor* processor = processors_[next_processor_];
    next_processor_ = (next_processor_ + 1) % count;
    const Processor::Offer offer = processor->offer(in_hand_, *this);
    if (offer == Processor::Offer::kTaken) {
      counters_.accepted.add(1);
      in_hand_ = NewConnection();
      return true;
    }
    if (offer == Processor::Offer::kGone) gone++;
  }
  if (gone < count) return false;
  sockets_.close(std::exchange(in_hand_.fd, -1));
  return true;
}

void Acceptor::acceptFailed(int error) {
  switch (error) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
      is_readable_ = false;
      return;
    case EINTR:
      return;
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    // Linux hands over network errors that are pending on the new socket: accept(2).
    case ENETDOWN:
    case ENETUNREACH:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ETIMEDOUT:
      // That one client is gone or refused by the system; the next may do.
      counters_.errors.add(1);
      return;
    default:
      break;
  }
  // accept() finds that descriptors are out before it looks whether anybody waits for one.
  if ((error == EMFILE || error == ENFILE) && !shedOne()) return;
  counters_.errors.add(1);
  reportError(Event::Kind::kAcceptError, error);
  backoff_until_ns_ = clock_.now() + kAcceptBackoffNs;
}

// Out of descriptors: the reserve lets one client in, to be told at once that it is refused.
// False: no client waits.
bool Acceptor::shedOne() {
  if (spare_ < 0) return true;
  sockets_.close(spare_);
  Endpoint local;
  Endpoint remote;
  const int fd = sockets_.accept(fd_, &local, &remote);
  if (fd >= 0) sockets_.close(fd);
  spare_ = sockets_.openSpare();
  is_readable_ = fd != -EAGAIN;
  return is_readable_;
}

void Acceptor::closeAll() {
  if (fd_ >= 0) sockets_.close(std::exchange(fd_, -1));
  if (spare_ >= 0) sockets_.close(std::exchange(spare_, -1));
  if (in_hand_.fd >= 0) sockets_.close(std::exchange(in_hand_.fd, -1));
}

void Acceptor::stop() {
  stop_asked_.store(true, std::memory_order_release);
  wakeUp();
}

void Acceptor::roomForConnections() {
  has_room_.store(true, std::memory_order_release);
  wakeUp();
}

void Acceptor::wakeUp() {
  if (doorbell_.ring()) poller_.wake();
}

void Acceptor::reportError(Event::Kind kind, int error) {
  auto* event = new Event();
  event->kind = kind;
  event->error = error;
  event->listener = listener_;
  consumer_.post(event);
  consumer_.ring();
}

}  // namespace odradek
