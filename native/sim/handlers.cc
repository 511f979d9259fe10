#include "handlers.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "answers.h"
#include "letters.h"

namespace odradek::sim {

Handlers::~Handlers() {
  for (auto& [key, session] : sessions_) {
    for (Held& held : session->queue) held.request.block->release();
  }
  Event* event = events().takeAll();
  while (event != nullptr) delete std::exchange(event, event->next);
}

// --- A turn ------------------------------------------------------------------------------------

bool Handlers::isAwake() const {
  if (is_awake_ || threadless_ == nullptr) return is_awake_;
  return threadless_poller_->hasEvents() || stage_.kernel.clock.now() >= deadline_ns_;
}

void Handlers::turn() {
  if (!is_awake_) doorbell().awake();
  is_awake_ = true;
  is_resting_ = false;
  // One that has ended isn't watched any more.
  if (threadless_ != nullptr && !threadless_->turn()) {
    was_lost_ = was_lost_ || threadless_poller_->wasLost();
    threadless_ = nullptr;
  }
  std::vector<Request> claimed;
  const bool is_drained = requests_.claim(claimed, stage_.random.pick<uint32_t>({1, 7, 64, 512}));
  stage_.trace.note("handlers claim %zu requests", claimed.size());
  released_ += static_cast<int32_t>(claimed.size());
  // Looked at after the claim: a connection's opening was posted before its first request.
  takeEvents();
  for (const Request& request : claimed) deliver(request);
  for (Session* session : std::exchange(touched_, {})) startAll(*session);
  commandTheGone();
  flush();
  if (is_drained) rest();
}

void Handlers::rest() {
  is_awake_ = !doorbell().trySleep();
  int64_t timeout_ns = -1;
  if (!is_awake_ && threadless_ != nullptr) is_awake_ = !threadless_->rest(&timeout_ns);
  if (is_awake_) return doorbell().awake();
  is_resting_ = threadless_ != nullptr;
  deadline_ns_ = timeout_ns < 0 ? INT64_MAX : stage_.kernel.clock.now() + timeout_ns;
}

void Handlers::deliver(const Request& request) {
  const auto found = sessions_.find(keyOf(request.channel));
  if (found == sessions_.end()) {
    SIM_CHECK(stage_.trace, "opened-before-request", was_stopped_ || was_lost_ || !cut_.empty(),
              "a request of slot %u, which isn't open", request.channel.slot);
    return request.block->release();
  }
  Session& session = *found->second;
  session.queue.push_back({request, session.client->deliveredBytes()});
  session.client->delivered(request);
  session.next_sequence = request.sequence + 1;
  session.is_last_here = request.is_last || session.held_at == session.next_sequence;
  touched_.push_back(&session);
}

void Handlers::startAll(Session& session) {
  if (session.is_switching && session.is_last_here && !session.is_closing) switchFraming(session);
  while (!session.queue.empty() && !session.is_in_work && !session.is_closing &&
         !session.is_switching && session.throttles == 0) {
    start(session);
  }
  if (session.is_closing) discardAll(session);
}

void Handlers::start(Session& session) {
  const Held& front = session.queue.front();
  released_--;
  session.is_in_work = true;
  if (session.client->isSwitch(front.at + front.request.frame_bytes)) {
    session.is_switching = true;
    if (stage_.plan.max_in_flight > 1) {
      // More may be crossing at this moment.
      session.is_last_here = false;
      Command hold;
      hold.kind = Command::Kind::kHold;
      hold.channel = session.id;
      give(std::move(hold), "");
    }
    if (session.is_last_here) switchFraming(session);
  }
  // A change of framing is a handler's deed, and the client counts on it.
  if (stage_.refuses && !session.is_switching) return refuse(session);
  session.is_never = stage_.strikes(Fault::kNeverAnswers);
  if (session.is_never || stage_.random.chance(stage_.plan.late_answers)) return;
  answer(session);
}

// What was cut by the old framing goes back as bytes, but for the request in work.
void Handlers::switchFraming(Session& session) {
  session.is_switching = false;
  Command command;
  command.kind = Command::Kind::kSetFraming;
  command.channel = session.id;
  command.framing = session.client->nextFraming();
  std::string bytes;
  const size_t kept = session.is_in_work ? 1 : 0;
  for (size_t i = kept; i < session.queue.size(); i++) {
    const Request& request = session.queue[i].request;
    if (i == kept) command.sequence = request.sequence;
    const auto* frame = reinterpret_cast<const char*>(request.block->data() + request.offset);
    bytes.append(frame, request.frame_bytes);
    request.block->release();
    command.settles++;
  }
  session.queue.resize(kept);
  session.next_sequence -= command.settles;
  session.held_at.reset();
  session.client->reframed(bytes.size(), command.settles);
  stage_.trace.note("client %u: another framing, %u requests withdrawn", session.client->number(),
                    command.settles);
  give(std::move(command), bytes);
}

// --- Answers -----------------------------------------------------------------------------------

void Handlers::answer(Session& session) {
  const Held& front = session.queue.front();
  session.client->checkBody(front.request, front.at);
  Command command;
  command.channel = session.id;
  command.sequence = front.request.sequence;
  command.settles = 1;
  if (session.is_cut || session.is_closing) {
    // Given all the same, and dropped by the core.
    session.discarded++;
    command.discarded = !session.is_cut;
    settleFront(session, command, session.is_cut ? "given after the cut" : "");
  } else if (stage_.random.chance(stage_.plan.closing_answers)) {
    answerByClose(session, command);
  } else if (stage_.random.chance(50)) {
    settleFront(session, command, "");
  } else {
    answerByBytes(session, command);
  }
}

// connection.send()
void Handlers::push(Session& session) {
  const std::string bytes = makeReply(session);
  session.client->replied(bytes);
  Command command;
  command.kind = Command::Kind::kPush;
  command.channel = session.id;
  if (stage_.random.chance(500)) {
    command.notify = true;
    command.sequence = session.next_push++;
    session.push_marks[command.sequence] = session.client->expectedBytes();
  }
  give(std::move(command), bytes);
}

// request.throttle()
void Handlers::throttle(Session& session) {
  Command command;
  command.kind = Command::Kind::kThrottle;
  command.channel = session.id;
  const auto ms = stage_.random.pick<uint32_t>({0, 1, 20, 500, 3000});
  session.throttles++;
  session.client->throttled(stage_.kernel.clock.now() + ms * int64_t{1'000'000});
  stage_.trace.note("client %u is throttled for %u ms", session.client->number(), ms);
  command.length = ms;
  give(std::move(command), "");
}

void Handlers::answerByBytes(Session& session, Command command) {
  const auto may_push = [&] {
    return stage_.plan.pushes > 0 && stage_.random.chance(stage_.plan.pushes);
  };
  if (may_push()) push(session);
  const std::string bytes = makeReply(session);
  session.client->replied(bytes);
  if (stage_.plan.throttles > 0 && stage_.random.chance(stage_.plan.throttles)) throttle(session);
  if (stage_.random.chance(100)) {
    // Parts of one reply: the first settles nothing.
    Command part = command;
    part.settles = 0;
    const size_t half = bytes.size() / 2;
    give(part, std::string_view(bytes).substr(0, half));
    settleFront(session, command, std::string_view(bytes).substr(half));
    if (may_push()) push(session);
    return;
  }
  if (stage_.random.chance(100)) {
    command.notify = true;
    session.sent_marks[command.sequence] = session.client->expectedBytes();
  }
  settleFront(session, command, bytes);
  if (may_push()) push(session);
}

void Handlers::answerByClose(Session& session, Command command) {
  stage_.trace.note("client %u is answered by a close", session.client->number());
  session.is_closing = true;
  std::string bytes;
  switch (stage_.random.below(4)) {
    case 0:
      command.reason = CloseReason::kHandlerError;
      command.discarded = true;
      break;
    case 1:
      command.reason = CloseReason::kClosedByHandler;
      command.discarded = true;
      break;
    case 2:
      command.reason = CloseReason::kClosedByHandler;
      bytes = makeReply(session);
      session.client->replied(bytes);
      break;
    default: {
      // connection.close(): doesn't wait for the handler, whose answer comes too late.
      Command close;
      close.kind = Command::Kind::kClose;
      close.channel = session.id;
      close.reason = CloseReason::kClosedByService;
      session.ordered.push_back(close.reason);
      session.is_cut = true;
      give(std::move(close), "");
      return;
    }
  }
  session.ordered.push_back(command.reason);
  if (command.discarded) session.discarded++;
  settleFront(session, command, bytes);
}

// As onOverload does, or, where there is none, by a close.
void Handlers::refuse(Session& session) {
  stage_.tally.count(Fault::kRequestRefused);
  const Held& front = session.queue.front();
  session.client->checkBody(front.request, front.at);
  Command command;
  command.channel = session.id;
  command.sequence = front.request.sequence;
  command.settles = 1;
  if (stage_.random.chance(500)) return answerByBytes(session, command);
  session.is_closing = true;
  session.discarded++;
  command.discarded = true;
  command.reason = CloseReason::kOverloaded;
  session.ordered.push_back(command.reason);
  settleFront(session, command, "");
}

// What comes behind a closing answer gets none.
void Handlers::discardAll(Session& session) {
  while (!session.queue.empty()) {
    if (!session.is_in_work) {
      released_--;
      session.is_in_work = true;
    } else if (session.is_cut && stage_.random.chance(500)) {
      return;  // the handler takes its time, though nobody waits for it
    }
    answer(session);
  }
}

void Handlers::settleFront(Session& session, Command command, std::string_view bytes) {
  session.queue.front().request.block->release();
  session.queue.pop_front();
  session.is_in_work = false;
  session.is_never = false;
  released_++;
  if (!bytes.empty()) stage_.tally.replies++;
  const bool is_repeated = stage_.strikes(Fault::kStrayReply);
  give(command, bytes);
#ifndef ODRADEK_DEBUG  // where it is asserted on
  if (is_repeated && !session.is_closing) {
    command.reason = CloseReason::kNone;
    command.notify = false;
    give(command, "a stray reply");
    may_extend_ = false;
  }
#else
  (void)is_repeated;
#endif
}

std::string Handlers::makeReply(const Session& session) {
  size_t bytes = 1 + stage_.random.below(60);
  if (stage_.random.chance(20)) bytes = stage_.random.below(100'000);
  const auto place =
      static_cast<uint32_t>(session.client->expectedBytes() + session.client->number());
  std::string reply;
  appendLetters(reply, bytes, place, 'A');
  return reply;
}

bool Handlers::isLate(const Session& session, bool with_never) {
  return !session.is_accepted || (session.is_in_work && (with_never || !session.is_never));
}

bool Handlers::hasLate(bool with_never) const {
  for (const auto& [key, session] : sessions_) {
    if (isLate(*session, with_never)) return true;
  }
  return false;
}

void Handlers::answerLate(bool with_never) {
  std::vector<Session*> late;
  for (auto& [key, session] : sessions_) {
    if (isLate(*session, with_never)) late.push_back(session.get());
  }
  if (late.empty()) return;
  Session& session = *late[stage_.random.below(static_cast<uint32_t>(late.size()))];
  stage_.trace.note("client %u is answered late", session.client->number());
  if (!session.is_accepted) {
    accept(session);
  } else {
    answer(session);
    startAll(session);
  }
  flush();
}

// --- Commands ----------------------------------------------------------------------------------

void Handlers::give(Command command, std::string_view bytes) {
  command.offset = static_cast<uint32_t>(slab_.size());
  if (!bytes.empty()) command.length = static_cast<uint32_t>(bytes.size());
  slab_ += bytes;
  const bool is_plain = command.kind == Command::Kind::kReply && !command.notify &&
                        !command.discarded && command.settles > 0 &&
                        command.reason == CloseReason::kNone;
  if (may_extend_ && is_plain && stage_.random.chance(700)) {
    // Replies of one connection that follow each other are one command.
    Command& last = commands_.back();
    if (last.channel == command.channel && last.sequence + last.settles == command.sequence) {
      last.settles += command.settles;
      last.length += command.length;
      return;
    }
  }
  may_extend_ = is_plain;
  commands_.push_back(std::move(command));
}

// Commands for connections that have ended since must reach nobody.
void Handlers::commandTheGone() {
  if (gone_.empty() || !stage_.strikes(Fault::kLateCommand)) return;
  Command command;
  command.channel = gone_[stage_.random.below(static_cast<uint32_t>(gone_.size()))];
  command.kind =
      stage_.random.pick<Command::Kind>({Command::Kind::kReply, Command::Kind::kClose,
                                         Command::Kind::kAccept, Command::Kind::kSetFraming});
  command.reason = CloseReason::kClosedByService;
  command.settles = command.kind == Command::Kind::kReply ? 1 : 0;
  give(std::move(command), "too late");
}

void Handlers::flush() {
  Block* slab = nullptr;
  if (!slab_.empty()) {
    slab = Block::make(memory, slab_.size());
    std::memcpy(slab->data(), slab_.data(), slab_.size());
  }
  std::vector<CommandBatch*> batches(processors_.size(), nullptr);
  for (Command& command : commands_) {
    timeAnswers(command, stage_.kernel.clock.now());
    CommandBatch*& batch = batches[command.channel.processor];
    if (batch == nullptr) batch = new CommandBatch();
    if (slab != nullptr && command.kind != Command::Kind::kThrottle && command.length > 0) {
      slab->retain();
      command.block = slab;
    }
    batch->commands.push_back(std::move(command));
  }
  if (slab != nullptr) slab->release();
  commands_.clear();
  slab_.clear();
  may_extend_ = false;
  for (size_t i = 0; i < batches.size(); i++) {
    if (batches[i] == nullptr) continue;
    if (is_resting_) {
      obeyResting(batches[i]);
    } else {
      processors_[i]->submit(batches[i]);
    }
  }
  requests_.release(std::exchange(released_, 0));
}

// As NativeServer does.
void Handlers::obeyResting(CommandBatch* batch) {
  threadless_->obey(batch);
  int64_t timeout_ns = 0;
  is_resting_ = threadless_->rest(&timeout_ns);
  if (!is_resting_ || timeout_ns > 0) threadless_poller_->wake();
}

// --- Events ------------------------------------------------------------------------------------

void Handlers::takeEvents() {
  Event* event = events().takeAll();
  while (event != nullptr) {
    switch (event->kind) {
      case Event::Kind::kOpened:
        opened(*event);
        break;
      case Event::Kind::kClosed:
        closed(*event);
        break;
      case Event::Kind::kSent:
        sent(*event, &Session::sent_marks, "reply");
        break;
      case Event::Kind::kPushSent:
        sent(*event, &Session::push_marks, "push");
        break;
      case Event::Kind::kHeld:
        held(*event);
        break;
      case Event::Kind::kThrottleEnded:
        throttleEnded(*event);
        break;
      case Event::Kind::kFatal:
        fatals_++;
        break;
      case Event::Kind::kCut:
        pool_->cut(event->channel);
        break;
      case Event::Kind::kLeft:
      case Event::Kind::kReset:
      case Event::Kind::kAcceptError:
        break;
    }
    delete std::exchange(event, event->next);
  }
}

void Handlers::held(const Event& event) {
  const auto found = sessions_.find(keyOf(event.channel));
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  session.held_at = event.count;
  session.is_last_here = session.next_sequence == event.count;
  touched_.push_back(&session);
}

void Handlers::throttleEnded(const Event& event) {
  const auto found = sessions_.find(keyOf(event.channel));
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  SIM_CHECK(stage_.trace, "throttle-told-once", event.count <= session.throttles,
            "client %u: %u throttles have ended, there were %u", session.client->number(),
            event.count, session.throttles);
  session.throttles -= event.count;
  if (session.throttles == 0) touched_.push_back(&session);
}

void Handlers::checkNobodyThrottled() const {
  for (const auto& [key, session] : sessions_) {
    SIM_CHECK(stage_.trace, "nothing-waits", session->throttles == 0,
              "client %u: the end of %u throttles was never told", session->client->number(),
              session->throttles);
  }
}

void Handlers::opened(const Event& event) {
  auto session = std::make_unique<Session>();
  session->id = event.channel;
  const auto client = clients_.find(event.remote.port);
  SIM_CHECK(stage_.trace, "opened-once", client != clients_.end(), "nobody has port %u",
            event.remote.port);
  session->client = client->second;
  clients_.erase(client);
  stage_.trace.note("client %u is open in slot %u of processor %u", session->client->number(),
                    event.channel.slot, event.channel.processor);
  opened_++;
  Session& added = *session;
  const Key key = keyOf(event.channel);
  // As src/transport/native finds connections: by slot, so no two of a processor may share one.
  const Key first_of_slot = {key.first, uint64_t{event.channel.slot} << 32};
  const auto same = sessions_.lower_bound(first_of_slot);
  const bool is_taken = same != sessions_.end() && same->first.first == key.first &&
                        same->first.second >> 32 == event.channel.slot;
  SIM_CHECK(stage_.trace, "opened-once", !is_taken, "slot %u is open already", event.channel.slot);
  sessions_.emplace(key, std::move(session));
  if (!stage_.plan.waits_for_accept) return;
  added.is_accepted = false;
  if (stage_.random.chance(700)) accept(added);
}

// onConnect has decided.
void Handlers::accept(Session& session) {
  session.is_accepted = true;
  Command command;
  command.channel = session.id;
  if (stage_.random.chance(50)) {
    command.kind = Command::Kind::kClose;
    command.reason = CloseReason::kRefused;
    session.ordered.push_back(command.reason);
    session.is_closing = true;
    return give(std::move(command), "");
  }
  if (stage_.random.chance(300)) {
    Command greeting = command;
    session.client->greeted("greeting");
    give(std::move(greeting), "greeting");
  }
  command.kind = Command::Kind::kAccept;
  give(std::move(command), "");
}

void Handlers::sent(const Event& event, Marks Session::*marks, const char* what) {
  const auto found = sessions_.find(keyOf(event.channel));
  SIM_CHECK(stage_.trace, "sent-told", found != sessions_.end(),
            "the fate of a %s of slot %u, which isn't open", what, event.channel.slot);
  Session& session = *found->second;
  const auto mark = (session.*marks).find(event.count);
  SIM_CHECK(stage_.trace, "sent-told", mark != (session.*marks).end(),
            "client %u: the fate of %s %u was told already", session.client->number(), what,
            event.count);
  SIM_CHECK(stage_.trace, "sent-told", !event.ok || session.client->writtenBytes() >= mark->second,
            "client %u: %s %u is said to be sent after %zu of %zu bytes", session.client->number(),
            what, event.count, session.client->writtenBytes(), mark->second);
  (session.*marks).erase(mark);
}

void Handlers::closed(const Event& event) {
  const auto found = sessions_.find(keyOf(event.channel));
  SIM_CHECK(stage_.trace, "one-end", found != sessions_.end(),
            "a closed event of slot %u, which isn't open", event.channel.slot);
  Session& session = *found->second;
  stage_.trace.note("client %u is closed, reason %d, %u unanswered", session.client->number(),
                    static_cast<int>(event.reason), event.count);
  closed_++;
  unanswered_ += event.count;
  const uint32_t listener = session.client->listener();
  const bool is_stopped = was_stopped_ || was_lost_ || cut_.contains(listener);
  if (pool_ != nullptr) {
    HandlerPool::Ended end = pool_->closed(event.channel, is_stopped);
    session.discarded += end.discarded;
    session.ordered.insert(session.ordered.end(), end.ordered.begin(), end.ordered.end());
  }
  checkReason(session, event.reason);
  SIM_CHECK(
      stage_.trace, "settled-before-end",
      is_stopped ||
          (session.queue.empty() && session.sent_marks.empty() && session.push_marks.empty()),
      "client %u: closed with %zu requests in hand, %zu replies' and %zu pushes' fates untold",
      session.client->number(), session.queue.size(), session.sent_marks.size(),
      session.push_marks.size());
  session.client->closed(event, session.discarded, is_stopped);
  for (Held& held : session.queue) held.request.block->release();
  if (session.is_in_work) released_++;
  gone_.push_back(session.id);
  std::erase(touched_, &session);
  sessions_.erase(found);
}

void Handlers::checkReason(const Session& session, CloseReason reason) const {
  bool has_cause = true;
  switch (reason) {
    case CloseReason::kRefused:
    case CloseReason::kClosedByHandler:
    case CloseReason::kHandlerError:
    case CloseReason::kHandlerLost:
    case CloseReason::kOverloaded:
    case CloseReason::kClosedByService:
      has_cause = std::ranges::find(session.ordered, reason) != session.ordered.end();
      break;
    case CloseReason::kOutOfMemory:
      has_cause = stage_.was_memory_refused;
      break;
    case CloseReason::kServerClosed:
      has_cause = was_drained_;
      break;
    case CloseReason::kListenerRemoved:
      has_cause = removed_.contains(session.client->listener());
      break;
    case CloseReason::kDeadline:
      has_cause = was_stopped_ || cut_.contains(session.client->listener());
      break;
    case CloseReason::kReactorLost:
      has_cause = was_lost_;
      break;
    case CloseReason::kNone:
      has_cause = false;
      break;
    default:
      break;  // the client's: Client::explains
  }
  SIM_CHECK(stage_.trace, "reason-has-cause", has_cause,
            "client %u: closed for reason %d, which nobody gave", session.client->number(),
            static_cast<int>(reason));
}

bool Handlers::hasOpen(uint32_t listener) const {
  return std::ranges::any_of(sessions_, [listener](const auto& session) {
    return session.second->client->listener() == listener;
  });
}

void Handlers::checkEnd() const {
  SIM_CHECK(stage_.trace, "one-end", opened_ == closed_ && sessions_.empty(),
            "%llu connections were opened, %llu closed", static_cast<unsigned long long>(opened_),
            static_cast<unsigned long long>(closed_));
}

}  // namespace odradek::sim
