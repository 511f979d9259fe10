#include "connection_quotas.h"

#include "check.h"

namespace odradek {

// All or nothing, in one look: what concerns the address alone comes first, so that the acceptor
// waits for no client that it would turn away afterwards.
ConnectionQuotas::Verdict ConnectionQuotas::admit(uint16_t listener, const IpAddress& ip,
                                                  int64_t now_ns, RoomListener& acceptor) {
  std::lock_guard lock(mutex_);
  forgetStale(now_ns);
  const uint32_t index = accountOf(ip);
  Account& account = accounts_[index];
  Verdict verdict = judge(account, listener, now_ns);
  if (verdict.kind == Verdict::Kind::kWait) {
    std::vector<RoomListener*>& waiting = verdict.until_ns == INT64_MAX ? want_room_ : want_time_;
    if (std::ranges::find(waiting, &acceptor) == waiting.end()) waiting.push_back(&acceptor);
  }
  if (verdict.kind != Verdict::Kind::kAdmitted) {
    if (account.connections == 0) stale_.push_back(index);
    return verdict;
  }
  const ListenerLimits limits = limitsOf(listener);
  Listener& counts = countsOf(listener);
  account.connections++;
  counts.connections++;
  total_++;
  account.rate.record(limits_.creation_rate_per_ip, now_ns);
  counts.rate.record(limits.creation_rate, now_ns);
  if (limits.is_protected)
    protected_++;
  else
    rate_.record(limits_.creation_rate, now_ns);
  noteExcess();
  verdict.admission = {.account = index, .listener = listener};
  return verdict;
}

ConnectionQuotas::Verdict ConnectionQuotas::judge(const Account& account, uint16_t listener,
                                                  int64_t now_ns) {
  if (account.connections >= maxOf(account.ip))
    return {.kind = Verdict::Kind::kRefuse, .admission = {}};
  const int64_t ip_due_ns = account.rate.dueNs(limits_.creation_rate_per_ip);
  if (ip_due_ns > now_ns)
    return {.kind = Verdict::Kind::kPark, .admission = {}, .until_ns = ip_due_ns};
  const ListenerLimits limits = limitsOf(listener);
  const Listener& counts = countsOf(listener);
  const bool is_full =
      counts.connections >= limits.max_connections ||
      (!limits.is_protected && (limits_.is_stopped || total_ >= limits_.max_connections));
  if (is_full) return {.kind = Verdict::Kind::kWait, .admission = {}};
  int64_t due_ns = counts.rate.dueNs(limits.creation_rate);
  if (!limits.is_protected) due_ns = std::max(due_ns, rate_.dueNs(limits_.creation_rate));
  if (due_ns > now_ns) return {.kind = Verdict::Kind::kWait, .admission = {}, .until_ns = due_ns};
  return {};
}

void ConnectionQuotas::stopWaiting(RoomListener& acceptor) {
  std::lock_guard lock(mutex_);
  std::erase(want_room_, &acceptor);
  std::erase(want_time_, &acceptor);
}

void ConnectionQuotas::release(const Admission& admission, bool was_excess) {
  std::lock_guard lock(mutex_);
  Account& account = accounts_[admission.account];
  Listener& counts = countsOf(admission.listener);
  ODRADEK_REQUIRE(account.connections > 0 && counts.connections > 0 && total_ > 0);
  account.connections--;
  counts.connections--;
  total_--;
  if (limitsOf(admission.listener).is_protected) protected_--;
  if (was_excess) leaving_--;
  if (account.connections == 0) stale_.push_back(admission.account);
  noteExcess();
  ring(want_room_);
}

void ConnectionQuotas::update(ConnectionLimits limits) {
  std::lock_guard lock(mutex_);
  limits_ = std::move(limits);
  protected_ = 0;
  for (size_t i = 0; i < listeners_.size(); i++) {
    if (limitsOf(static_cast<uint16_t>(i)).is_protected) protected_ += listeners_[i].connections;
  }
  noteExcess();
  ring(want_room_);
  ring(want_time_);
}

// With the lock: an acceptor that has stopped waiting is not rung any more.
void ConnectionQuotas::ring(std::vector<RoomListener*>& acceptors) {
  for (RoomListener* acceptor : acceptors) acceptor->roomForConnections();
  acceptors.clear();
}

// --- Too many ----------------------------------------------------------------------------------

uint32_t ConnectionQuotas::takeExcess(uint32_t most) {
  std::lock_guard lock(mutex_);
  if (!has_excess_.load(std::memory_order_relaxed)) return 0;
  const uint32_t taken = std::min(most, total_ - limits_.max_connections - leaving_);
  leaving_ += taken;
  noteExcess();
  return taken;
}

// Never begins with a release, after which nobody would ring the processors.
void ConnectionQuotas::noteExcess() {
  const bool has_excess = total_ > limits_.max_connections &&
                          total_ - limits_.max_connections > leaving_ && total_ > protected_;
  has_excess_.store(has_excess, std::memory_order_relaxed);
}

bool ConnectionQuotas::isProtected(uint16_t listener) const {
  std::lock_guard lock(mutex_);
  return limitsOf(listener).is_protected;
}

// --- What is counted ---------------------------------------------------------------------------

uint32_t ConnectionQuotas::total() const {
  std::lock_guard lock(mutex_);
  return total_;
}

uint32_t ConnectionQuotas::ofListener(uint16_t listener) const {
  std::lock_guard lock(mutex_);
  return listener < listeners_.size() ? listeners_[listener].connections : 0;
}

size_t ConnectionQuotas::accounts() const {
  std::lock_guard lock(mutex_);
  return by_ip_.size();
}

uint32_t ConnectionQuotas::accountOf(const IpAddress& ip) {
  const auto found = by_ip_.find(ip);
  if (found != by_ip_.end()) return found->second;
  uint32_t index = 0;
  if (free_accounts_.empty()) {
    index = static_cast<uint32_t>(accounts_.size());
    accounts_.emplace_back();
  } else {
    index = free_accounts_.back();
    free_accounts_.pop_back();
    accounts_[index] = Account();
  }
  accounts_[index].ip = ip;
  by_ip_.emplace(ip, index);
  return index;
}

// An address that goes on connecting has come here several times, and is forgotten once.
void ConnectionQuotas::forgetStale(int64_t now_ns) {
  while (!stale_.empty()) {
    const uint32_t index = stale_.front();
    const Account& account = accounts_[index];
    const auto found = by_ip_.find(account.ip);
    const bool is_known = found != by_ip_.end() && found->second == index;
    if (is_known && account.connections == 0) {
      if (account.rate.emptyAtNs() > now_ns) return;
      by_ip_.erase(found);
      free_accounts_.push_back(index);
    }
    stale_.pop_front();
  }
}

uint32_t ConnectionQuotas::maxOf(const IpAddress& ip) const {
  const IpOverride* longest = nullptr;
  for (const IpOverride& each : limits_.per_ip_overrides) {
    const bool is_longer = longest == nullptr || each.range.bits > longest->range.bits;
    if (is_longer && each.range.contains(ip)) longest = &each;
  }
  return longest == nullptr ? limits_.max_connections_per_ip : longest->max_connections;
}

ListenerLimits ConnectionQuotas::limitsOf(uint16_t listener) const {
  return listener < limits_.listeners.size() ? limits_.listeners[listener] : ListenerLimits();
}

ConnectionQuotas::Listener& ConnectionQuotas::countsOf(uint16_t listener) {
  if (listeners_.size() <= listener) listeners_.resize(listener + 1);
  return listeners_[listener];
}

}  // namespace odradek
