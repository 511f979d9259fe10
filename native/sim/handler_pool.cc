#include "handler_pool.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "../core/bounds.h"
#include "answers.h"
#include "letters.h"

namespace odradek::sim {
namespace {

constexpr size_t kMostPlaces = 12;
// Connections of which a thread may have requests that it doesn't begin, since they are throttled.
constexpr uint32_t kMostThrottled = 3;

}  // namespace

HandlerPool::HandlerPool(Stage& stage, RequestChannel& requests, const HandlerSet& set,
                         const ProcessorList& processors,
                         std::function<void(Command, std::string_view)> give)
    : stage_(stage),
      requests_(requests),
      set_(set),
      processors_(processors),
      give_(std::move(give)) {}

HandlerPool::~HandlerPool() { stop(); }

void HandlerPool::enter() {
  for (uint32_t place = 0; place < stage_.plan.pool_threads; place++) open(place);
}

void HandlerPool::open(uint32_t place) {
  if (threads_.size() <= place) threads_.resize(place + 1);
  is_retired_.resize(threads_.size());
  const Plan& plan = stage_.plan;
  const uint32_t run = std::max<uint32_t>(kFramesPerBatch, plan.max_in_flight);
  const uint32_t capacity = (plan.pool_concurrency + 1 + kMostThrottled) * run;
  auto thread = std::make_unique<Thread>();
  thread->marks.resize(capacity + 1);
  thread->handler =
      std::make_shared<RequestHandler>(place, capacity, plan.max_in_flight, requests_, *this);
  requests_.enter(place, thread->handler);
  thread->handler->enter(*thread, thread->marks.data());
  threads_[place] = std::move(thread);
  stage_.trace.note("a handler thread enters place %u", place);
}

void HandlerPool::submit(uint32_t processor, CommandBatch* batch) {
  processors_[processor]->submit(batch);
}

std::optional<ConnectionInfo> HandlerPool::describe(const ChannelId& channel) {
  return processors_[channel.processor]->describe(channel);
}

HandlerPool::Session* HandlerPool::find(const ChannelId& channel) {
  const auto found = sessions_.find(keyOf(channel));
  return found == sessions_.end() ? nullptr : &found->second;
}

// --- A thread's turn ---------------------------------------------------------------------------

uint32_t HandlerPool::awake() const {
  uint32_t count = gone_.empty() ? 0 : 1;
  for (const auto& thread : threads_) {
    count += thread != nullptr && (thread->is_awake || thread->is_busy) ? 1 : 0;
  }
  return count;
}

void HandlerPool::turn() {
  uint32_t choice = stage_.random.below(awake());
  for (auto& thread : threads_) {
    if (thread == nullptr || !(thread->is_awake || thread->is_busy)) continue;
    if (choice-- > 0) continue;
    if (!std::exchange(thread->is_busy, false)) turn(*thread);
    return;
  }
  const std::unique_ptr<Thread> gone = std::move(gone_.back());
  gone_.pop_back();
  answerGone(*gone);
}

void HandlerPool::turn(Thread& thread) {
  thread.handler->doorbell().awake();
  thread.was_idle = false;
  thread.wants = !thread.is_retiring && inFlight(thread) < stage_.plan.pool_concurrency;
  bool is_drained = true;
  std::vector<Request> taken;
  std::vector<uint32_t> tickets;
  const bool has_work = thread.handler->inWork() > 0;
  const bool has_room = hasPendingRoom();
  if (thread.wants) is_drained = thread.handler->claim(taken, tickets);
  SIM_CHECK(stage_.trace, "bounds", has_room || taken.empty(),
            "handler thread %u claims with %u requests pending", thread.handler->place(),
            requests_.pending());
  if (has_work && !taken.empty()) checkIdleFirst(thread);
  stage_.trace.note("handler thread %u claims %zu requests", thread.handler->place(), taken.size());
  // Looked at after the claim, as the addon does.
  takeEvents(thread);
  for (size_t i = 0; i < taken.size(); i++) deliver(thread, taken[i], tickets[i]);
  checkHeard(thread);
  startAll(thread);
  thread.is_in_turn = !is_drained;
  if (!is_drained) return;
  thread.wants = !thread.is_retiring && inFlight(thread) < stage_.plan.pool_concurrency;
  const bool sleeps = thread.handler->rest(thread.wants) && thread.handler->doorbell().trySleep();
  thread.is_awake = !sleeps;
  thread.is_busy = sleeps && stage_.strikes(Fault::kHandlerBusy);
  if (!sleeps) thread.handler->doorbell().awake();
  if (!thread.is_retiring || inFlight(thread) > 0) return;
  // It has answered everything: its owner lets it go.
  stage_.trace.note("handler thread %u has retired", thread.handler->place());
  const uint32_t place = thread.handler->place();
  detach(thread);
  dropHeld(thread, nullptr);
  threads_[place].reset();
}

// Replies that wait for earlier ones are pending, too; but what they wait for must be claimable.
bool HandlerPool::hasPendingRoom() const {
  if (requests_.pending() < stage_.plan.max_pending_requests) return true;
  return std::ranges::all_of(threads_, [](const auto& thread) {
    return thread == nullptr || thread->handler->inWork() == 0;
  });
}

void HandlerPool::takeEvents(Thread& thread) {
  Event* event = thread.handler->events().takeAll();
  while (event != nullptr) {
    const Key key = keyOf(event->channel);
    if (event->kind == Event::Kind::kCut && thread.met.contains(key)) thread.cut.insert(key);
    const auto throttled = thread.throttles.find(key);
    if (event->kind == Event::Kind::kThrottleEnded && throttled != thread.throttles.end()) {
      throttled->second -= std::min(throttled->second, event->count);
      if (throttled->second == 0) thread.throttles.erase(throttled);
    }
    if (event->kind == Event::Kind::kClosed) {
      thread.throttles.erase(key);
      thread.handler->forget(event->channel);
      thread.met.erase(key);
      thread.cut.erase(key);
      dropHeld(thread, &event->channel);
    }
    delete std::exchange(event, event->next);
  }
}

HandlerPool::Session* HandlerPool::meet(Thread& thread, const ChannelId& channel) {
  const Key key = keyOf(channel);
  if (!thread.met.contains(key)) {
    const std::optional<ConnectionInfo> info = thread.handler->describe(channel);
    if (!info) return nullptr;
    thread.met[key] = info->remote.port;
    if (info->cut != CloseReason::kNone) thread.cut.insert(key);
  }
  if (Session* session = find(channel); session != nullptr) return session;
  const auto client = clients_.find(thread.met[key]);
  if (client == clients_.end()) return nullptr;
  Session& session = sessions_[key];
  session.id = channel;
  session.client = client->second;
  clients_.erase(client);
  return &session;
}

void HandlerPool::deliver(Thread& thread, const Request& request, uint32_t ticket) {
  Session* session = meet(thread, request.channel);
  if (session == nullptr) {
    SIM_CHECK(stage_.trace, "opened-before-request", stage_.plan.abandonsRequests(),
              "a request of slot %u, which isn't open", request.channel.slot);
    thread.handler->forget(request.channel);
    return request.block->release();
  }
  checkOrder(thread, *session, request);
  if (request.sequence == session->next_sequence) {
    Flight& flight = session->flights[request.sequence];
    flight.at = session->client->deliveredBytes();
    session->client->delivered(request);
    session->next_sequence++;
  }
  const auto found = session->flights.find(request.sequence);
  const bool is_free =
      found != session->flights.end() &&
      (found->second.thread == nullptr || found->second.state == Flight::State::kPutBack);
  SIM_CHECK(stage_.trace, "one-handler", is_free,
            "client %u: request %u is claimed, and was not put back", session->client->number(),
            request.sequence);
  found->second.state = Flight::State::kClaimed;
  found->second.thread = &thread;
  thread.held.push_back({request, ticket});
}

void HandlerPool::checkOrder(const Thread& thread, Session& session, const Request& request) {
  const uint32_t place = thread.handler->place();
  if (stage_.plan.pool_has_affinity) {
    const uint32_t own = session.place.value_or(place);
    SIM_CHECK(stage_.trace, "own-place", own == place || is_retired_[own],
              "client %u: its requests are place %u's, and place %u has one",
              session.client->number(), own, place);
    session.place = place;
    return;
  }
  // Those of a lost processor are nobody's.
  const bool is_new = request.sequence == session.next_sequence;
  const bool is_first = !is_new || stage_.plan.abandonsRequests() || putBack() == 0;
  SIM_CHECK(stage_.trace, "put-back-first", is_first,
            "client %u: request %u is claimed before %u that were put back",
            session.client->number(), request.sequence, putBack());
}

// What the core has closed it begins nothing of.
void HandlerPool::checkHeard(const Thread& thread) const {
  for (const Held& held : thread.held) {
    const Key key = keyOf(held.request.channel);
    SIM_CHECK(stage_.trace, "closed-begins-nothing",
              !cut_.contains(key) || thread.cut.contains(key),
              "handler thread %u doesn't know that slot %u was closed", thread.handler->place(),
              held.request.channel.slot);
  }
}

void HandlerPool::startAll(Thread& thread) {
  size_t index = 0;
  while (index < thread.held.size()) {
    Held& held = thread.held[index];
    Session* session = find(held.request.channel);
    if (session == nullptr || held.is_started || !mayStart(thread, held)) {
      index++;
      continue;
    }
    if (thread.cut.contains(keyOf(held.request.channel))) {
      discard(thread, index, *session);
      continue;
    }
    start(thread, held, *session);
    const bool is_late =
        !held.is_refused && (held.is_never || stage_.random.chance(stage_.plan.late_answers));
    if (is_late) {
      index++;
      continue;
    }
    answer(thread, index);
    index = 0;  // others of its connection may begin
  }
}

// Of each connection no more than may be in flight, in their order.
bool HandlerPool::mayStart(const Thread& thread, const Held& held) const {
  const Key key = keyOf(held.request.channel);
  if (thread.throttles.contains(key) && !thread.cut.contains(key)) return false;
  uint32_t before = 0;
  for (const Held& other : thread.held) {
    if (other.request.channel != held.request.channel) continue;
    const bool is_older = other.request.sequence - held.request.sequence >= 1u << 31;
    if (is_older && !other.is_started) return false;
    before += other.is_started ? 1 : 0;
  }
  return before < stage_.plan.max_in_flight;
}

void HandlerPool::start(Thread& thread, Held& held, Session& session) {
  std::atomic_ref(thread.marks[held.ticket]).store(1);
  held.is_started = true;
  held.is_refused = stage_.refuses;
  held.is_never = !held.is_refused && stage_.strikes(Fault::kNeverAnswers);
  uint32_t started = 0;
  for (auto& [sequence, flight] : session.flights) {
    started += flight.state == Flight::State::kStarted || flight.state == Flight::State::kOrphan;
  }
  SIM_CHECK(stage_.trace, "one-at-a-time", stage_.plan.max_in_flight > 1 || started == 0,
            "client %u: %u requests are in work, and another is started", session.client->number(),
            started);
  Flight& flight = session.flights[held.request.sequence];
  SIM_CHECK(stage_.trace, "one-handler",
            flight.thread == &thread && flight.state == Flight::State::kClaimed,
            "client %u: request %u is another thread's", session.client->number(),
            held.request.sequence);
  flight.state = Flight::State::kStarted;
}

// Its connection is closed: it is settled in its turn, without a handler.
void HandlerPool::discard(Thread& thread, size_t index, Session& session) {
  const Held held = thread.held[index];
  thread.held.erase(thread.held.begin() + static_cast<std::ptrdiff_t>(index));
  held.request.block->release();
  Command command;
  command.channel = session.id;
  command.sequence = held.request.sequence;
  command.settles = 1;
  command.discarded = true;
  note(session, command, "");
  std::vector<Command> commands = {command};
  give(thread, commands, "");
}

uint32_t HandlerPool::inFlight(const Thread& thread) {
  uint32_t count = 0;
  for (const Held& held : thread.held) count += held.is_started ? 1 : 0;
  return count;
}

void HandlerPool::dropHeld(Thread& thread, const ChannelId* channel) {
  std::erase_if(thread.held, [&](const Held& held) {
    const bool is_dropped = channel == nullptr || held.request.channel == *channel;
    if (is_dropped) held.request.block->release();
    return is_dropped;
  });
}

// --- Answers -----------------------------------------------------------------------------------

void HandlerPool::answer(Thread& thread, size_t index) {
  const Held held = thread.held[index];
  thread.held.erase(thread.held.begin() + static_cast<std::ptrdiff_t>(index));
  Session* session = find(held.request.channel);
  if (session == nullptr) return held.request.block->release();
  const Flight& flight = session->flights[held.request.sequence];
  session->client->checkBody(held.request, flight.at);
  held.request.block->release();
  std::vector<Command> commands;
  if (!session->is_cut && stage_.random.chance(stage_.plan.closing_answers / 2)) {
    // connection.close(): the answer is given all the same.
    Command close;
    close.kind = Command::Kind::kClose;
    close.channel = session->id;
    close.reason = CloseReason::kClosedByService;
    session->end.ordered.push_back(close.reason);
    session->is_cut = true;
    commands.push_back(std::move(close));
  }
  const bool is_throttled =
      !session->is_cut && stage_.plan.throttles > 0 && stage_.random.chance(stage_.plan.throttles);
  if (is_throttled) commands.push_back(throttle(thread, *session));
  const bool is_pushed = !session->is_cut && !session->is_over && stage_.plan.pushes > 0 &&
                         stage_.random.chance(stage_.plan.pushes);
  if (is_pushed) commands.push_back(push(*session));
  std::string bytes;
  const uint32_t sequence = held.request.sequence;
  commands.push_back(held.is_refused ? makeRefusal(*session, sequence, &bytes)
                                     : makeReply(*session, sequence, &bytes));
  note(*session, commands.back(), bytes);
  give(thread, commands, bytes);
}

// connection.send(): no part of the reply that follows, nor does it wait for others' turn.
Command HandlerPool::push(Session& session) {
  std::string bytes;
  appendLetters(bytes, 1 + stage_.random.below(60),
                static_cast<uint32_t>(session.client->expectedBytes()), 'A');
  session.client->replied(bytes);
  Command command;
  command.kind = Command::Kind::kPush;
  command.channel = session.id;
  command.block = Block::make(memory, bytes.size());
  std::memcpy(command.block->data(), bytes.data(), bytes.size());
  command.length = static_cast<uint32_t>(bytes.size());
  return command;
}

// request.throttle()
Command HandlerPool::throttle(Thread& thread, Session& session) {
  Command command;
  command.kind = Command::Kind::kThrottle;
  command.channel = session.id;
  command.length = stage_.random.pick<uint32_t>({0, 1, 20, 500, 3000});
  // Where others may begin what is behind, this thread needn't wait either.
  const bool is_shared = stage_.plan.max_in_flight > 1 && !stage_.plan.pool_has_affinity;
  const Key key = keyOf(session.id);
  const bool has_room = thread.throttles.size() < kMostThrottled || thread.throttles.contains(key);
  if (!is_shared && has_room) thread.throttles[key]++;
  return command;
}

Command HandlerPool::makeReply(Session& session, uint32_t sequence, std::string* bytes) {
  Command command;
  command.channel = session.id;
  command.sequence = sequence;
  command.settles = 1;
  if (stage_.random.chance(stage_.plan.closing_answers)) {
    command.reason = CloseReason::kClosedByHandler;
    session.end.ordered.push_back(command.reason);
    command.discarded = stage_.random.chance(500);
  }
  if (command.discarded || stage_.random.chance(50)) return command;
  size_t length = 1 + stage_.random.below(60);
  if (stage_.random.chance(20)) length = stage_.random.below(100'000);
  appendLetters(*bytes, length, sequence * 977 + session.client->number(), 'A');
  return command;
}

// As onOverload does, or, where there is none, by a close.
Command HandlerPool::makeRefusal(Session& session, uint32_t sequence, std::string* bytes) {
  stage_.tally.count(Fault::kRequestRefused);
  if (stage_.random.chance(500)) return makeReply(session, sequence, bytes);
  Command command;
  command.channel = session.id;
  command.sequence = sequence;
  command.settles = 1;
  command.discarded = true;
  command.reason = CloseReason::kOverloaded;
  session.end.ordered.push_back(command.reason);
  return command;
}

// The model: what is answered, and, in the requests' order, what the client is owed.
void HandlerPool::note(Session& session, const Command& command, std::string bytes) {
  Flight& flight = session.flights[command.sequence];
  flight.state = Flight::State::kAnswered;
  flight.bytes = std::move(bytes);
  flight.reason = command.reason;
  flight.discarded = command.discarded;
  advance(session);
}

void HandlerPool::advance(Session& session) {
  auto next = session.flights.find(session.next_reply);
  while (next != session.flights.end() && next->second.state == Flight::State::kAnswered) {
    const Flight& flight = next->second;
    const bool is_lost = session.is_cut || session.is_over || flight.discarded;
    if (is_lost) session.end.discarded++;
    if (!is_lost && !flight.bytes.empty()) {
      session.client->replied(flight.bytes);
      stage_.tally.replies++;
    }
    session.is_over = session.is_over || flight.reason != CloseReason::kNone;
    session.flights.erase(next);
    next = session.flights.find(++session.next_reply);
  }
}

// The last command's bytes, in one part or two.
void HandlerPool::give(Thread& thread, std::vector<Command>& commands, std::string_view bytes) {
  if (!bytes.empty()) {
    Block* block = Block::make(memory, bytes.size());
    std::memcpy(block->data(), bytes.data(), bytes.size());
    Command& last = commands.back();
    last.block = block;
    last.length = static_cast<uint32_t>(bytes.size());
    if (stage_.random.chance(100)) {
      Command part;
      part.channel = last.channel;
      part.block = block;
      block->retain();
      part.length = last.length / 2;
      last.offset = part.length;
      last.length -= part.length;
      commands.insert(commands.end() - 1, part);
    }
  }
  for (Command& command : commands) timeAnswers(command, stage_.kernel.clock.now());
  thread.handler->submit(commands);
}

bool HandlerPool::hasLate(bool with_never) const {
  if (!orphans_.empty()) return true;
  for (const auto& thread : threads_) {
    if (thread == nullptr) continue;
    for (const Held& held : thread->held) {
      if (held.is_started && (with_never || !held.is_never)) return true;
    }
  }
  return false;
}

void HandlerPool::answerLate(bool with_never) {
  std::vector<std::pair<Thread*, size_t>> late;
  for (auto& thread : threads_) {
    if (thread == nullptr) continue;
    for (size_t i = 0; i < thread->held.size(); i++) {
      const Held& held = thread->held[i];
      if (held.is_started && (with_never || !held.is_never)) late.emplace_back(thread.get(), i);
    }
  }
  const auto choice = stage_.random.below(static_cast<uint32_t>(late.size() + orphans_.size()));
  if (choice >= late.size()) return answerOrphan(choice - late.size());
  const auto [thread, index] = late[choice];
  stage_.trace.note("handler thread %u answers late", thread->handler->place());
  answer(*thread, index);
  startAll(*thread);
  // It may want requests again.
  if (!thread->wants) thread->is_awake = true;
}

// --- Threads that are lost, come and go --------------------------------------------------------

void HandlerPool::disturb() {
  if (is_stopped_) return;
  const auto places = static_cast<uint32_t>(threads_.size());
  const uint32_t place = stage_.random.below(places);
  Thread* thread = threads_[place].get();
  if (thread == nullptr) {
    if (!is_retired_[place]) open(place);
    return;
  }
  if (stage_.strikes(Fault::kHandlerLost)) return lose(place);
  if (!thread->is_retiring && stage_.strikes(Fault::kHandlerRetired)) return retire(place);
  if (places < kMostPlaces && stage_.strikes(Fault::kHandlerAdded)) open(places);
}

void HandlerPool::restore() {
  for (uint32_t place = 0; place < threads_.size(); place++) {
    if (threads_[place] == nullptr && !is_retired_[place]) open(place);
  }
}

void HandlerPool::retire(uint32_t place) {
  const auto left = std::count(is_retired_.begin(), is_retired_.end(), false);
  if (left < 2) return;
  stage_.trace.note("handler thread %u is to retire", place);
  is_retired_[place] = true;
  requests_.retire(place);
  threads_[place]->is_retiring = true;
  threads_[place]->is_awake = true;
}

void HandlerPool::lose(uint32_t place) {
  stage_.trace.note("handler thread %u is lost", place);
  std::unique_ptr<Thread> thread = std::move(threads_[place]);
  // Its environment may end before anybody hears of it.
  if (stage_.random.chance(300)) {
    thread->handler->leave();
    std::fill(thread->marks.begin(), thread->marks.end(), uint8_t{1});
    detach(*thread);
    return dropHeld(*thread, nullptr);
  }
  detach(*thread);
  if (stage_.random.chance(500)) return gone_.push_back(std::move(thread));
  dropHeld(*thread, nullptr);
}

void HandlerPool::detach(Thread& thread) {
  const RequestHandler::Remains remains = thread.handler->detach();
  uint32_t put_back = 0;
  const auto take = [&](const Request& request, Flight::State from, Flight::State to) {
    Session* session = find(request.channel);
    if (session == nullptr) return false;
    Flight& flight = session->flights[request.sequence];
    SIM_CHECK(stage_.trace, "remains-told-apart", flight.thread == &thread && flight.state == from,
              "client %u: request %u of a lost thread was in another state",
              session->client->number(), request.sequence);
    flight.state = to;
    return true;
  };
  for (const Request& request : remains.started) {
    if (take(request, Flight::State::kStarted, Flight::State::kOrphan)) {
      orphans_.push_back({request.channel, request.sequence});
    }
    request.block->release();
  }
  for (const Request& request : remains.waiting) {
    if (take(request, Flight::State::kClaimed, Flight::State::kWaiting)) {
      find(request.channel)->waiting.push_back(request);
    } else {
      request.block->release();
    }
  }
  for (auto& [key, session] : sessions_) {
    for (auto& [sequence, flight] : session.flights) {
      if (flight.thread != &thread || flight.state == Flight::State::kAnswered) continue;
      flight.thread = nullptr;
      // The thread may have heard of the end before, and have let go of what it had begun.
      if (flight.state == Flight::State::kStarted && session.client->wasCut()) {
        flight.state = Flight::State::kAnswered;
        continue;
      }
      SIM_CHECK(stage_.trace, "remains-told-apart", flight.state != Flight::State::kStarted,
                "client %u: request %u had been started, and nobody says so",
                session.client->number(), sequence);
      if (flight.state != Flight::State::kClaimed) continue;
      flight.state = Flight::State::kPutBack;
      if (!session.client->wasCut()) put_back++;
    }
  }
  SIM_CHECK(stage_.trace, "remains-told-apart", put_back <= remains.put_back,
            "%u requests were put back, %u are said to be", put_back, remains.put_back);
}

// It goes on until it hears of it, and nobody listens.
void HandlerPool::answerGone(Thread& thread) {
  for (const Held& held : thread.held) {
    Command command;
    command.channel = held.request.channel;
    command.sequence = held.request.sequence;
    command.settles = 1;
    std::vector<Command> commands = {command};
    give(thread, commands, "given by a thread that was given up");
  }
  std::vector<Request> taken;
  std::vector<uint32_t> tickets;
  const bool finds_nothing =
      thread.handler->claim(taken, tickets) && thread.handler->rest(true) && taken.empty();
  SIM_CHECK(stage_.trace, "one-handler", finds_nothing, "a thread that was given up claims");
  dropHeld(thread, nullptr);
  thread.handler->leave();
}

// The owner answers what a lost thread had started.
void HandlerPool::answerOrphan(size_t index) {
  const Orphan orphan = orphans_[index];
  orphans_.erase(orphans_.begin() + static_cast<std::ptrdiff_t>(index));
  Session* session = find(orphan.channel);
  if (session == nullptr) return;
  stage_.trace.note("client %u is told that its handler was lost", session->client->number());
  std::string bytes;
  Command command = makeReply(*session, orphan.sequence, &bytes);
  if (stage_.random.chance(300)) {
    command.reason = CloseReason::kHandlerLost;
    command.discarded = true;
    bytes.clear();
    session->end.ordered.push_back(command.reason);
  }
  note(*session, command, bytes);
  give_(std::move(command), bytes);
  for (const Orphan& other : orphans_) {
    if (other.channel == orphan.channel) return;
  }
  endWaiting(*session);
}

// What stood behind goes to the others; or nowhere, if the connection is closing.
void HandlerPool::endWaiting(Session& session) {
  const std::vector<Request> waiting = std::exchange(session.waiting, {});
  const bool is_closing = session.is_cut || session.is_over;
  for (const Request& request : waiting) {
    if (!is_closing) {
      session.flights[request.sequence].state = Flight::State::kPutBack;
      continue;
    }
    request.block->release();
    Command command;
    command.channel = session.id;
    command.sequence = request.sequence;
    command.settles = 1;
    command.discarded = true;
    note(session, command, "");
    give_(std::move(command), "");
  }
  if (!is_closing) requests_.putBack(waiting);
}

void HandlerPool::stop() {
  if (std::exchange(is_stopped_, true)) return;
  for (auto& thread : threads_) {
    if (thread != nullptr) gone_.push_back(std::move(thread));
  }
  threads_.clear();
  is_retired_.clear();
  for (auto& thread : gone_) {
    const RequestHandler::Remains remains = thread->handler->detach();
    remains.letGo();
    left_behind_ += remains.put_back;
    thread->handler->leave();
    dropHeld(*thread, nullptr);
  }
  gone_.clear();
  orphans_.clear();
  for (auto& [key, session] : sessions_) {
    for (const Request& request : std::exchange(session.waiting, {})) request.block->release();
  }
}

// --- What must hold ----------------------------------------------------------------------------

HandlerPool::Ended HandlerPool::closed(const ChannelId& channel, bool is_stopped) {
  cut_.erase(keyOf(channel));
  const auto found = sessions_.find(keyOf(channel));
  if (found == sessions_.end()) return {};
  Session& session = found->second;
  SIM_CHECK(stage_.trace, "settled-before-end", is_stopped || session.flights.empty(),
            "client %u: closed with %zu requests in handlers' hands", session.client->number(),
            session.flights.size());
  for (const Request& request : session.waiting) request.block->release();
  // At a stop they are in the queue still.
  for (const auto& [sequence, flight] : session.flights) {
    left_behind_ += flight.state == Flight::State::kPutBack ? 1 : 0;
  }
  Ended end = std::move(session.end);
  sessions_.erase(found);
  return end;
}

uint32_t HandlerPool::putBack() const {
  uint32_t count = left_behind_;
  for (const auto& [key, session] : sessions_) {
    for (const auto& [sequence, flight] : session.flights) {
      count += flight.state == Flight::State::kPutBack ? 1 : 0;
    }
  }
  return count;
}

// It had work and has claimed more: nobody with none waits for requests, or was rung for what is
// no more there.
void HandlerPool::checkIdleFirst(const Thread& thread) const {
  if (stage_.plan.pool_has_affinity) return;
  uint32_t expected = 0;
  for (const auto& other : threads_) {
    if (other == nullptr || other.get() == &thread || other->handler->inWork() > 0) continue;
    if (other->is_retiring || !other->wants) continue;
    SIM_CHECK(stage_.trace, "idle-first", !other->isWaiting(),
              "handler thread %u has work and claims more, while %u is idle",
              thread.handler->place(), other->handler->place());
    // With events it may have been rung for these.
    const bool was_rung = other->was_idle && other->handler->events().empty();
    expected += was_rung || other->is_in_turn ? 1 : 0;
  }
  SIM_CHECK(stage_.trace, "idle-first", set_.runs() >= expected,
            "handler thread %u has work and claims what %u idle ones were rung for",
            thread.handler->place(), expected);
}

// Replies that wait for earlier ones. What no processor has seen yet was in the queue before.
void HandlerPool::checkKept() const {
  uint32_t kept = 0;
  for (const auto& [key, session] : sessions_) {
    for (const auto& [sequence, flight] : session.flights) {
      kept += flight.state == Flight::State::kAnswered ? 1 : 0;
    }
  }
  SIM_CHECK(stage_.trace, "bounds",
            kept <= stage_.plan.max_pending_requests + stage_.plan.queued_max_requests,
            "%u replies wait for earlier ones", kept);
}

void HandlerPool::checkNobodyIdles() const {
  if (is_stopped_ || stage_.plan.pool_has_affinity) return;
  if (requests_.queued() == 0 || requests_.pending() >= stage_.plan.max_pending_requests) return;
  const Thread* idle = nullptr;
  for (const auto& thread : threads_) {
    if (thread == nullptr) continue;
    if (thread->is_awake && !thread->is_busy) return;
    if (!thread->is_awake && thread->wants) idle = thread.get();
  }
  SIM_CHECK(stage_.trace, "nobody-idles", idle == nullptr,
            "%u requests are queued, and handler thread %u sleeps", requests_.queued(),
            idle->handler->place());
}

}  // namespace odradek::sim
