#include "handler_set.h"

#include <utility>

#include "check.h"
#include "request_handler.h"

namespace odradek {

void HandlerSet::enter(uint32_t place, std::shared_ptr<RequestHandler> handler) {
  if (places_.size() <= place) places_.resize(place + 1);
  places_[place].handler = std::move(handler);
}

void HandlerSet::leave(uint32_t place) {
  isAwake(place);
  places_[place].handler.reset();
}

void HandlerSet::retire(uint32_t place) {
  Place& old = places_[place];
  old.successor = place;  // not itself
  old.successor = fewest();
  Place& heir = placeOf(place);
  heir.connections += std::exchange(old.connections, 0);
  while (!old.queue.empty()) heir.queue.push(old.queue.pop());
}

uint32_t HandlerSet::assign() {
  const uint32_t place = fewest();
  places_[place].connections++;
  return place;
}

uint32_t HandlerSet::fewest() const {
  uint32_t best = kNoPlace;
  for (uint32_t i = 0; i < places_.size(); i++) {
    if (places_[i].successor != kNoPlace) continue;
    if (best == kNoPlace || places_[i].connections < places_[best].connections) best = i;
  }
  ODRADEK_REQUIRE(best != kNoPlace);
  return best;
}

void HandlerSet::unassign(uint32_t place) { placeOf(place).connections--; }

void HandlerSet::push(const Request& request) {
  queueOf(request.place).push(request);
  queued_++;
}

void HandlerSet::putBack(const std::vector<Request>& requests) {
  for (size_t i = requests.size(); i > 0; i--) {
    queueOf(requests[i - 1].place).pushFront(requests[i - 1]);
  }
  queued_ += static_cast<uint32_t>(requests.size());
}

void HandlerSet::takeRun(uint32_t place, std::vector<Request>& taken) {
  Ring<Request>& queue = queueOf(place);
  if (queue.empty()) return;
  const ChannelId channel = queue.front().channel;
  const bool is_run = has_affinity_ || max_in_flight_ == 1;
  do {
    taken.push_back(queue.pop());
    queued_--;
  } while (is_run && !queue.empty() && queue.front().channel == channel);
}

bool HandlerSet::hasRequests(uint32_t place) const {
  return has_affinity_ ? !places_[place].queue.empty() : queued_ > 0;
}

std::vector<Request> HandlerSet::takeAll() {
  std::vector<Request> all;
  while (!queue_.empty()) all.push_back(queue_.pop());
  for (Place& place : places_) {
    while (!place.queue.empty()) all.push_back(place.queue.pop());
  }
  queued_ = 0;
  return all;
}

void HandlerSet::sleeps(uint32_t place) {
  if (!std::exchange(places_[place].sleeps, true)) asleep_++;
}

void HandlerSet::isAwake(uint32_t place) {
  if (std::exchange(places_[place].sleeps, false)) asleep_--;
}

void HandlerSet::wake(size_t runs, Handlers& woken) {
  if (has_affinity_) {
    for (Place& place : places_) {
      if (place.sleeps && !place.queue.empty()) rouse(place, woken);
    }
    return;
  }
  for (; runs > 0 && asleep_ > 0; runs--) {
    Place* best = nullptr;
    for (Place& place : places_) {
      if (!place.sleeps) continue;
      if (best == nullptr || place.handler->inWork() < best->handler->inWork()) best = &place;
    }
    rouse(*best, woken);
  }
}

void HandlerSet::rouse(Place& place, Handlers& woken) {
  place.sleeps = false;
  asleep_--;
  woken.push_back(place.handler);
}

HandlerSet::Place& HandlerSet::placeOf(uint32_t place) {
  while (places_[place].successor != kNoPlace) place = places_[place].successor;
  return places_[place];
}

Ring<Request>& HandlerSet::queueOf(uint32_t place) {
  return has_affinity_ ? placeOf(place).queue : queue_;
}

}  // namespace odradek
