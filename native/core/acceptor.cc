#include "acceptor.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <utility>

namespace odradek {

Acceptor::Acceptor(uint32_t listener, const ChannelConfig& config, Seams seams,
                   const ProcessorList& processors, ConnectionQuotas& quotas, Consumer& consumer)
    : listener_(listener),
      config_(config),
      poller_(seams.poller),
      sockets_(seams.sockets),
      clock_(seams.clock),
      processors_(processors),
      quotas_(quotas),
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
    closeParked();
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
  int64_t timeout_ns = pollTimeout();
  if (timeout_ns != 0 && !doorbell_.trySleep()) timeout_ns = 0;
  const int count = poller_.wait(events_.data(), static_cast<int>(events_.size()), timeout_ns);
  doorbell_.awake();
  if (count < 0 && count != -EINTR) lost_ = -count;
  if (count > 0) is_readable_ = true;
}

// Below 0: until somebody rings.
int64_t Acceptor::pollTimeout() const {
  int64_t due_ns = parked_.empty() ? INT64_MAX : parked_.front().until_ns;
  if (backoff_until_ns_ != 0) {
    due_ns = std::min(due_ns, backoff_until_ns_);
  } else if (in_hand_.fd >= 0) {
    const bool is_rung = has_room_.load(std::memory_order_acquire);
    due_ns = is_rung ? 0 : std::min(due_ns, blocked_until_ns_);
  } else if (is_readable_) {
    due_ns = 0;
  }
  if (due_ns == INT64_MAX) return -1;
  return due_ns == 0 ? 0 : std::max<int64_t>(due_ns - clock_.now(), 0);
}

void Acceptor::acceptConnections() {
  if (in_hand_.fd >= 0 && !place()) return;
  if (backoff_until_ns_ != 0) {
    if (clock_.now() < backoff_until_ns_) return;
    backoff_until_ns_ = 0;
    if (spare_ < 0) spare_ = sockets_.openSpare();
  }
  for (int i = 0; i < kAcceptsPerTurn && is_readable_; i++) {
    NewConnection connection;
    connection.listener = listener_;
    connection.config = &config_;
    connection.fd = sockets_.accept(fd_, &connection.local, &connection.remote);
    if (connection.fd >= 0) {
      in_hand_ = std::move(connection);
      if (!place()) return;
    } else {
      acceptFailed(-connection.fd);
    }
    if (backoff_until_ns_ != 0) return;
  }
}

// False: it has to wait in hand.
bool Acceptor::place() {
  has_room_.store(false, std::memory_order_release);
  if (!in_hand_.admission.isGiven() && !admit()) return in_hand_.fd < 0;
  return handOver();
}

// False: it has to wait, and nobody else is accepted meanwhile; or it was turned away.
bool Acceptor::admit() {
  const auto verdict =
      quotas_.admit(static_cast<uint16_t>(listener_), in_hand_.remote.ip, clock_.now(), *this);
  using Kind = ConnectionQuotas::Verdict::Kind;
  if (verdict.kind == Kind::kWait) {
    block(verdict.until_ns);
    return false;
  }
  unblock();
  if (verdict.kind == Kind::kAdmitted) {
    in_hand_.admission = verdict.admission;
    return true;
  }
  if (verdict.kind == Kind::kPark && parked_.size() < kMaxParked) {
    counters_.throttled.add(1);
    park(verdict.until_ns);
  } else {
    counters_.refused.add(1);
    sockets_.close(in_hand_.fd);
  }
  in_hand_ = NewConnection();
  return false;
}

// At a moment that is known a rate allows it; a place is rung for.
void Acceptor::block(int64_t until_ns) {
  blocked_until_ns_ = until_ns;
  const int64_t now_ns = clock_.now();
  blocked_.begin(now_ns);
  if (until_ns == INT64_MAX) {
    rate_wait_.end(now_ns);
  } else {
    rate_wait_.begin(now_ns);
  }
}

void Acceptor::unblock() {
  blocked_until_ns_ = INT64_MAX;
  if (!blocked_.isRunning()) return;
  const int64_t now_ns = clock_.now();
  blocked_.end(now_ns);
  rate_wait_.end(now_ns);
}

// The client is kept waiting before it is told, so that it doesn't come again at once.
void Acceptor::park(int64_t until_ns) {
  parked_.push_back({until_ns, in_hand_.fd});
  std::ranges::push_heap(parked_, std::greater<>());
  counters_.parked.add(1);
  counters_.parked_ns.add(static_cast<uint64_t>(std::max<int64_t>(until_ns - clock_.now(), 0)));
}

void Acceptor::closeParked() {
  while (!parked_.empty() && parked_.front().until_ns <= clock_.now()) {
    std::ranges::pop_heap(parked_, std::greater<>());
    sockets_.close(parked_.back().fd);
    parked_.pop_back();
    counters_.parked.subtract(1);
  }
}

// False: every queue is full. A processor will ring when it has room.
bool Acceptor::handOver() {
  const size_t count = processors_.size();
  size_t gone = 0;
  for (size_t i = 0; i < count; i++) {
    Processor* processor = processors_[next_processor_];
    next_processor_ = (next_processor_ + 1) % count;
    const Processor::Offer offer = processor->offer(in_hand_, *this);
    if (offer == Processor::Offer::kTaken) {
      counters_.accepted.add(1);
      in_hand_ = NewConnection();
      if (quotas_.hasExcess()) makeRoom();
      return true;
    }
    if (offer == Processor::Offer::kGone) gone++;
  }
  if (gone < count) return false;
  dropInHand();
  return true;
}

// A protected listener has taken more places than there are: others give theirs, wherever they are.
void Acceptor::makeRoom() {
  for (Processor* processor : processors_) processor->closeExcess();
}

void Acceptor::dropInHand() {
  if (in_hand_.fd >= 0) sockets_.close(in_hand_.fd);
  if (in_hand_.admission.isGiven()) quotas_.release(in_hand_.admission);
  in_hand_ = NewConnection();
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
  dropInHand();
  quotas_.stopWaiting(*this);
  unblock();
  for (const Parked& parked : parked_) sockets_.close(parked.fd);
  counters_.parked.subtract(parked_.size());
  parked_.clear();
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
