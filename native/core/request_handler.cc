#include "request_handler.h"

#include <algorithm>
#include <utility>

#include "bounds.h"

namespace odradek {

RequestHandler::RequestHandler(uint32_t place, uint32_t capacity, uint32_t max_in_flight,
                               RequestChannel& requests, CommandSink& processors)
    : place_(place),
      capacity_(capacity),
      longest_run_(std::max(kFramesPerBatch, max_in_flight)),
      requests_(&requests),
      processors_(processors),
      in_work_(capacity, max_in_flight) {}

RequestHandler::~RequestHandler() {
  Event* event = events().takeAll();
  while (event != nullptr) delete std::exchange(event, event->next);
}

void tieParts(std::vector<Command>& commands) {
  for (size_t i = commands.size(); i > 1; i--) {
    Command& part = commands[i - 2];
    const Command& next = commands[i - 1];
    const bool is_part = part.kind == Command::Kind::kReply && part.settles == 0 &&
                         next.kind == Command::Kind::kReply && next.channel == part.channel &&
                         (next.settles > 0 || next.is_part);
    if (!is_part) continue;
    part.is_part = true;
    part.sequence = next.sequence;
  }
}

// --- Its own thread ----------------------------------------------------------------------------

bool RequestHandler::enter(Waker& waker, uint8_t* marks) {
  {
    std::lock_guard lock(waker_mutex_);
    waker_ = &waker;
  }
  std::lock_guard lock(mutex_);
  marks_ = marks;
  return requests_ != nullptr;
}

void RequestHandler::leave() {
  {
    std::lock_guard lock(waker_mutex_);
    waker_ = nullptr;
  }
  std::lock_guard lock(mutex_);
  if (marks_ != nullptr) last_marks_.assign(marks_, marks_ + capacity_ + 1);
  marks_ = nullptr;
  if (requests_ != nullptr) requests_->leave(place_, *this);
}

bool RequestHandler::claim(std::vector<Request>& taken, std::vector<uint32_t>& tickets) {
  std::lock_guard lock(mutex_);
  if (requests_ == nullptr || in_work_.room() < longest_run_) return true;
  uint32_t counted = 0;
  const bool is_drained = requests_->claimRun(place_, taken, &counted);
  const uint32_t active = in_work_.active();
  for (const Request& request : taken) {
    tickets.push_back(in_work_.add(request));
    std::atomic_ref(marks_[tickets.back()]).store(0, std::memory_order_relaxed);
  }
  claimed_.add(taken.size());
  // Some may have to wait for others of their connection that were in work already.
  countWork(active + counted);
  return is_drained;
}

bool RequestHandler::rest(bool wants_requests) {
  std::lock_guard lock(mutex_);
  if (requests_ == nullptr) return true;
  // Without room claim() takes nothing, whatever waits.
  if (wants_requests && in_work_.room() >= longest_run_) return requests_->rest(place_);
  requests_->abstain(place_);
  return true;
}

void RequestHandler::submit(std::vector<Command>& commands) {
  tieParts(commands);
  std::lock_guard lock(mutex_);
  const uint32_t active = in_work_.active();
  for (Command& command : commands) {
    const bool is_ours = requests_ != nullptr &&
                         (command.settles == 0 ||
                          in_work_.settle(command.channel, command.sequence, command.settles));
    if (!is_ours) {
      if (command.block != nullptr) command.block->release();
      continue;
    }
    command.origin = place_ + 1;
    const uint32_t processor = command.channel.processor;
    if (batches_.size() <= processor) batches_.resize(processor + 1);
    if (batches_[processor] == nullptr) batches_[processor] = new CommandBatch();
    batches_[processor]->commands.push_back(std::move(command));
  }
  commands.clear();
  for (uint32_t i = 0; i < batches_.size(); i++) {
    if (batches_[i] != nullptr) processors_.submit(i, std::exchange(batches_[i], nullptr));
  }
  countWork(active);
}

std::optional<ConnectionInfo> RequestHandler::describe(const ChannelId& channel) {
  std::lock_guard lock(mutex_);
  if (requests_ == nullptr) return std::nullopt;
  return processors_.describe(channel);
}

void RequestHandler::forget(const ChannelId& channel) {
  std::lock_guard lock(mutex_);
  const uint32_t active = in_work_.active();
  in_work_.drop(channel);
  countWork(active);
}

// --- The server's thread -----------------------------------------------------------------------

RequestHandler::Remains RequestHandler::detach() {
  Remains remains;
  std::lock_guard lock(mutex_);
  RequestChannel* requests = requests_;
  if (requests == nullptr) return remains;
  requests->leave(place_, *this);
  uint8_t* marks = marks_ != nullptr ? marks_ : last_marks_.data();
  const bool has_marks = marks_ != nullptr || !last_marks_.empty();
  if (has_marks) std::atomic_ref(marks[capacity_]).store(1);
  const uint32_t active = in_work_.active();
  std::vector<Request> unstarted;
  ChannelId behind;
  bool is_behind = false;
  for (const InWork::Claimed& claimed : in_work_.takeAll()) {
    is_behind = is_behind && claimed.request.channel == behind;
    const bool is_started = has_marks && std::atomic_ref(marks[claimed.ticket]).load() != 0;
    if (is_started) {
      is_behind = true;
      behind = claimed.request.channel;
      remains.started.push_back(claimed.request);
    } else if (is_behind) {
      remains.waiting.push_back(claimed.request);
    } else {
      unstarted.push_back(claimed.request);
    }
  }
  remains.put_back = static_cast<uint32_t>(unstarted.size());
  countWork(active);
  requests_ = nullptr;
  requests->putBack(unstarted);
  return remains;
}

void RequestHandler::Remains::letGo() const {
  for (const Request& request : started) request.block->release();
  for (const Request& request : waiting) request.block->release();
}

bool RequestHandler::isWaiting() {
  std::lock_guard lock(waker_mutex_);
  return waker_ != nullptr && waker_->isWaiting();
}

void RequestHandler::wake() {
  std::lock_guard lock(waker_mutex_);
  if (waker_ != nullptr) waker_->wake();
}

// With the lock; `before` were counted as pending.
void RequestHandler::countWork(uint32_t before) {
  in_work_count_.store(in_work_.active(), std::memory_order_relaxed);
  if (requests_ != nullptr) requests_->release(static_cast<int32_t>(before - in_work_.active()));
}

}  // namespace odradek
