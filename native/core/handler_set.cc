#include "handler_set.h"

#include <algorithm>
#include <utility>

#include "check.h"
#include "request_handler.h"

namespace odradek {

void HandlerSet::enter(uint32_t place, std::shared_ptr<RequestHandler> handler) {
  if (places_.size() <= place) places_.resize(place + 1);
  places_[place].handler = std::move(handler);
}

void HandlerSet::leave(uint32_t place) {
  abstains(place);
  places_[place].handler.reset();
}

void HandlerSet::retire(uint32_t place) {
  places_[place].is_retired = true;
  Ring<Request> left = std::move(places_[place].queue);
  places_[place].queue = Ring<Request>();
  while (!left.empty()) {
    const Request request = left.pop();
    queueOf(request).push(request);
  }
}

uint32_t HandlerSet::assign() {
  // Connections may come before the first thread does: they wait for it at its place.
  if (places_.empty()) places_.emplace_back();
  const uint32_t place = fewest();
  places_[place].connections++;
  return place;
}

uint32_t HandlerSet::fewest() const {
  uint32_t best = kNoPlace;
  for (uint32_t i = 0; i < places_.size(); i++) {
    if (places_[i].is_retired) continue;
    if (best == kNoPlace || places_[i].connections < places_[best].connections) best = i;
  }
  ODRADEK_REQUIRE(best != kNoPlace);
  return best;
}

void HandlerSet::unassign(uint32_t place, const ChannelId& channel) {
  const auto moved = moved_.find(channel);
  if (moved == moved_.end()) {
    places_[place].connections--;
    return;
  }
  places_[moved->second].connections--;
  moved_.erase(moved);
}

void HandlerSet::push(const Request& request) {
  Ring<Request>& queue = queueOf(request);
  if (!has_affinity_ && (queue.empty() || !isOneRun(queue.back(), request))) runs_++;
  queue.push(request);
  queued_++;
}

void HandlerSet::putBack(const std::vector<Request>& requests) {
  for (size_t i = requests.size(); i > 0; i--) {
    const Request& request = requests[i - 1];
    Ring<Request>& queue = queueOf(request);
    if (!has_affinity_ && (queue.empty() || !isOneRun(request, queue.front()))) runs_++;
    queue.pushFront(request);
  }
  queued_ += static_cast<uint32_t>(requests.size());
}

bool HandlerSet::isOneRun(const Request& request, const Request& next) const {
  return max_in_flight_ == 1 && request.channel == next.channel;
}

uint32_t HandlerSet::takeRun(uint32_t place, uint32_t most, std::vector<Request>& taken) {
  Ring<Request>& queue = queueOf(place);
  if (queue.empty()) return 0;
  const ChannelId channel = queue.front().channel;
  const bool is_run = has_affinity_ || max_in_flight_ == 1;
  uint32_t count = 0;
  do {
    taken.push_back(queue.pop());
    queued_--;
    count++;
    if (max_in_flight_ > 1 && count == most) break;
  } while (is_run && !queue.empty() && queue.front().channel == channel);
  if (!has_affinity_) runs_--;
  return std::min(count, max_in_flight_);
}

bool HandlerSet::hasRequests(uint32_t place) const {
  if (has_affinity_) return !places_[place].queue.empty();
  if (runs_ == 0) return false;
  return isIdle(places_[place]) || runs_ > idleOnesComing(places_[place]);
}

int64_t HandlerSet::oldestNs() const {
  int64_t oldest_ns = queue_.empty() ? INT64_MAX : queue_.front().received_at_ns;
  for (const Place& place : places_) {
    if (place.queue.empty()) continue;
    oldest_ns = std::min(oldest_ns, place.queue.front().received_at_ns);
  }
  return oldest_ns;
}

bool HandlerSet::isIdle(const Place& place) {
  return place.handler == nullptr || place.handler->inWork() == 0;
}

uint32_t HandlerSet::idleOnesComing(const Place& but) const {
  uint32_t count = 0;
  for (const Place& place : places_) {
    if (&place != &but && place.is_coming && isIdle(place)) count++;
  }
  return count;
}

std::vector<Request> HandlerSet::takeAll() {
  std::vector<Request> all;
  while (!queue_.empty()) all.push_back(queue_.pop());
  for (Place& place : places_) {
    while (!place.queue.empty()) all.push_back(place.queue.pop());
  }
  runs_ = 0;
  queued_ = 0;
  return all;
}

void HandlerSet::isAwake(uint32_t place) {
  abstains(place);
  places_[place].is_coming = true;
}

void HandlerSet::sleeps(uint32_t place) {
  abstains(place);
  places_[place].sleeps = true;
  asleep_++;
}

void HandlerSet::abstains(uint32_t place) {
  if (std::exchange(places_[place].sleeps, false)) asleep_--;
  places_[place].is_coming = false;
}

void HandlerSet::wake(size_t runs, Handlers& woken) {
  if (has_affinity_) {
    for (Place& place : places_) {
      if (place.sleeps && !place.queue.empty()) rouse(place, woken);
    }
    return;
  }
  for (; runs > 0 && asleep_ > 0; runs--) {
    if (Place* sleeper = freeSleeper(); sleeper != nullptr) {
      call(*sleeper, woken);
      continue;
    }
    for (Place& place : places_) {
      if (place.sleeps) rouse(place, woken);
    }
  }
}

void HandlerSet::wakeIdle(uint32_t place, Handlers& woken) {
  if (has_affinity_ || isIdle(places_[place])) return;
  while (asleep_ > 0 && runs_ > idleOnesComing(places_[place])) {
    Place* sleeper = freeSleeper();
    if (sleeper == nullptr || !isIdle(*sleeper)) return;
    call(*sleeper, woken);
  }
}

// The one with the least in work of those that wait in their event loop.
HandlerSet::Place* HandlerSet::freeSleeper() {
  Place* best = nullptr;
  for (Place& place : places_) {
    if (!place.sleeps) continue;
    const bool is_better = best == nullptr || place.handler->inWork() < best->handler->inWork();
    if (is_better && place.handler->isWaiting()) best = &place;
  }
  return best;
}

void HandlerSet::call(Place& sleeper, Handlers& woken) {
  rouse(sleeper, woken);
  sleeper.is_coming = isIdle(sleeper);
}

void HandlerSet::rouse(Place& place, Handlers& woken) {
  place.sleeps = false;
  asleep_--;
  woken.push_back(place.handler);
}

// Where the connection is that was given this place.
uint32_t HandlerSet::placeOf(uint32_t place, const ChannelId& channel) {
  if (!places_[place].is_retired) return place;
  const auto moved = moved_.find(channel);
  if (moved != moved_.end() && !places_[moved->second].is_retired) return moved->second;
  places_[moved == moved_.end() ? place : moved->second].connections--;
  moved_[channel] = assign();
  return moved_[channel];
}

Ring<Request>& HandlerSet::queueOf(uint32_t place) {
  return has_affinity_ ? places_[place].queue : queue_;
}

Ring<Request>& HandlerSet::queueOf(const Request& request) {
  return has_affinity_ ? queueOf(placeOf(request.place, request.channel)) : queue_;
}

}  // namespace odradek
