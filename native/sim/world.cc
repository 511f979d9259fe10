#include "world.h"

#include <algorithm>

#include "../test/free_permits.h"
#include "answers.h"

namespace odradek::sim {
namespace {

constexpr size_t kMostClients = 80;
// Loops that have so much to do while nobody gives them work are spinning.
constexpr uint32_t kMostStepsToQuiet = 200'000;
// A long stream for which there is memory for a byte at a time takes a round for each.
constexpr uint32_t kMostRoundsToQuiet = 500'000;

// What histograms say together.
struct Timed {
  uint64_t count = 0;
  uint64_t sum_ns = 0;

  void add(const TimeHistogram& histogram) {
    count += histogram.count();
    sum_ns += histogram.sumNs();
  }
};

std::unique_ptr<HandlerSet> makeHandlerSet(const Plan& plan, const HandlerSet** set) {
  if (plan.pool_threads == 0) return nullptr;
  auto made = std::make_unique<HandlerSet>(plan.pool_has_affinity, plan.max_in_flight);
  *set = made.get();
  return made;
}

}  // namespace

World::ProcessorThread::ProcessorThread(uint32_t id, World& world)
    : poller(world.stage_),
      processor(id, {poller, world.sockets_, world.kernel_.clock, world.memory_}, world.requests_,
                world.memory_pool_, world.unsent_, world.handovers_, world.quotas_, world.ends_,
                world.handlers_,
                {.sleeps_elsewhere = world.plan_.is_threadless,
                 .busy_poll_ns = world.plan_.busy_poll_ns,
                 .timeouts = world.timeouts()}),
      loop("processor", id, world.stage_, poller, [this] { return processor.turn(); }) {}

World::AcceptorThread::AcceptorThread(uint32_t listener, World& world)
    : listener(listener),
      poller(world.stage_),
      acceptor(listener, world.configs_[listener], {poller, world.sockets_, world.kernel_.clock},
               world.processor_list_, world.quotas_, world.handlers_),
      loop("acceptor", listener, world.stage_, poller, [this] { return acceptor.turn(); }) {}

World::World(uint64_t seed, bool is_loud, Tally& tally)
    : random_(seed),
      plan_(makePlan(seed, random_)),
      trace_(seed, is_loud),
      tally_(tally),
      stage_{.random = random_, .plan = plan_, .trace = trace_, .tally = tally, .kernel = kernel_},
      sockets_(stage_),
      memory_(stage_),
      requests_(plan_.queued_max_requests, plan_.max_pending_requests, handlers_,
                makeHandlerSet(plan_, &handler_set_)),
      limits_(plan_.connections),
      memory_pool_(plan_.request_bytes, kernel_.clock),
      unsent_(plan_.unsent_bytes),
      quotas_(limits_),
      handlers_(stage_, requests_, processor_list_) {}

World::~World() = default;

uint64_t World::run() {
  open();
  runWithFaults();
  finish();
  end();
  checkEnd();
  tally_.seeds++;
  tally_.events += events_;
  tally_.fewest_events = std::min(tally_.fewest_events, events_);
  tally_.connections += clients_.size();
  tally_.fewest_connections = std::min<uint64_t>(tally_.fewest_connections, clients_.size());
  return trace_.digest();
}

void World::open() {
  stage_.has_faults = false;
  kernel_.clock.creep(100);
  stage_.add_refused = [this](int fd) { sockets_.connectionFailed(fd); };
  for (const Framing& framing : plan_.framings)
    configs_.push_back({&framing, plan_.waits_for_accept, plan_.max_in_flight});
  for (uint32_t id = 0; id < plan_.processors; id++) addProcessor();
  if (plan_.is_threadless) handlers_.drive(*processor_list_[0], processors_.front()->poller);
  if (plan_.pool_threads > 0) {
    pool_ = std::make_unique<HandlerPool>(stage_, requests_, *handler_set_, processor_list_,
                                          [this](Command command, std::string_view bytes) {
                                            handlers_.command(std::move(command), bytes);
                                          });
    handlers_.leaveTo(*pool_);
    pool_->enter();
  }
  for (uint32_t i = 0; i < plan_.listeners; i++) addListener();
  stage_.has_faults = true;
  for (uint32_t i = 0; i < plan_.clients; i++) connect();
}

void World::addListener() {
  const auto number = static_cast<uint32_t>(listeners_.size());
  listeners_.push_back(&kernel_.openListener());
  acceptors_.push_back(std::make_unique<AcceptorThread>(number, *this));
  AcceptorThread& thread = *acceptors_.back();
  thread.acceptor.open(listeners_.back()->fd());
  thread.poller.mayBeLost();
  loops_.push_back(&thread.loop);
}

void World::addProcessor() {
  const auto id = static_cast<uint32_t>(processors_.size());
  processors_.push_back(std::make_unique<ProcessorThread>(id, *this));
  ProcessorThread& thread = *processors_.back();
  thread.processor.open();
  thread.poller.mayBeLost();
  processor_list_.add(&thread.processor);
  if (!plan_.is_threadless) loops_.push_back(&thread.loop);
}

void World::connect() {
  const auto number = static_cast<uint32_t>(clients_.size());
  const uint32_t listener = random_.below(static_cast<uint32_t>(listeners_.size()));
  if (listeners_[listener] == nullptr) return;
  test::FakeConnection& socket = kernel_.connect(*listeners_[listener]);
  socket.ip = IpAddress::v4(10, 0, 0, static_cast<uint8_t>(number % 3));
  clients_.push_back(std::make_unique<Client>(stage_, number, listener, socket));
  sockets_.watch(*clients_.back());
  handlers_.expect(socket.port, *clients_.back());
  if (pool_ != nullptr) pool_->expect(socket.port, *clients_.back());
  trace_.note("client %u connects", number);
}

// --- The phases --------------------------------------------------------------------------------

void World::runWithFaults() {
  for (uint32_t i = 0; i < plan_.steps; i++) {
    if (i == plan_.end_step) {
      tally_.count(plan_.end == Plan::End::kDrain ? Fault::kDrainUnderLoad : Fault::kStopUnderLoad);
      beginEnd();
    }
    step();
    checkBounds();
  }
}

// Everybody finishes what is under way; then nothing may be left over.
void World::finish() {
  trace_.note("no more faults");
  stage_.has_faults = false;
  kernel_.limitDescriptors(SIZE_MAX);
  if (pool_ != nullptr) pool_->restore();
  // Nobody waits for long any more.
  if (overload_step_ > 0) overload(0);
  // Connections that change hands when nothing is under way any more, and idle from there on.
  if (plan_.resizes > 0 && plan_.timeouts.idle_ns > 0) {
    runLoops();
    for (auto& client : clients_) client->finish();
    runLoops();
    handOverToNewcomer();
  }
  // With handlers that still don't answer, the loops have to come to rest all the same.
  settle(false);
  checkWaitsTold();
  settle(true);
  if (!is_ending_) checkNothingWaits();
}

// All who are left stop in the middle, until nobody is waited for.
void World::stall() {
  const Timeouts& timeouts = plan_.timeouts;
  if (timeouts.min_read_rate == 0 && timeouts.min_write_rate == 0) return;
  for (auto& client : clients_) client->stall();
  settle(true, false);
  if (wasLost()) return;
  for (auto& client : clients_) {
    if (handlers_.hasOpened(*client)) client->checkSlowHaveEnded();
  }
}

void World::end() {
  if (!is_ending_) stall();
  if (!is_ending_ && random_.chance(500)) {
    for (auto& client : clients_) {
      if (random_.chance(300)) client->end();
    }
    settle(true);
  }
  if (!is_ending_) beginEnd();
  settle(true);
  if (!is_stopped_) {
    for (auto& client : clients_) client->checkOrderlyEnd();
    SIM_CHECK(trace_, "drain-ends", handlers_.opened() == handlers_.closed(),
              "drained, and %llu connections are still open",
              static_cast<unsigned long long>(handlers_.opened() - handlers_.closed()));
    stop();
  }
  settle(true);
}

void World::checkEnd() {
  for (Loop* loop : loops_) {
    SIM_CHECK(trace_, "loops-end", loop->hasEnded(), "%s %u still runs", loop->name(),
              loop->number());
  }
  for (auto& client : clients_) {
    client->checkOrderlyEnd();
    if (!wasLost()) client->checkGivenBeforeStop();
  }
  handlers_.checkEnd();
  // What nobody claimed any more, as NativeServer does.
  if (pool_ != nullptr) requests_.clear();
  checkAccounts();
  acceptors_.clear();
  SIM_CHECK(trace_, "counts-return", unsent_.total() == 0, "%lld bytes that were not sent are left",
            static_cast<long long>(unsent_.total()));
  processors_.clear();
  SIM_CHECK(trace_, "counts-return", memory_pool_.available() == memory_pool_.size(),
            "%lld of %lld bytes of requests are back",
            static_cast<long long>(memory_pool_.available()),
            static_cast<long long>(memory_pool_.size()));
  SIM_CHECK(trace_, "counts-return", quotas_.total() == 0, "%u connections are still counted",
            quotas_.total());
  SIM_CHECK(trace_, "descriptors-return", kernel_.descriptors() == 0, "%zu descriptors are open",
            kernel_.descriptors());
  SIM_CHECK(trace_, "memory-returns", memory_.live() == 0, "%lld blocks of frames are out",
            static_cast<long long>(memory_.live()));
  const int64_t replies =
      handlers_.memory.live + (pool_ == nullptr ? 0 : pool_->memory.live.load());
  SIM_CHECK(trace_, "memory-returns", replies == 0, "%lld blocks of replies are out",
            static_cast<long long>(replies));
  SIM_CHECK(trace_, "no-misuse", kernel_.misuses().empty(), "%s",
            kernel_.misuses().front().c_str());
}

// --- Steps -------------------------------------------------------------------------------------

void World::step() {
  constexpr uint32_t kThread = 3;
  constexpr uint32_t kClients = 8;
  events_++;
  if (pool_ != nullptr && random_.chance(400)) return stepPool();
  const std::vector<Loop*> loops = runnable();
  const auto threads = static_cast<uint32_t>(loops.size());
  const bool has_late = handlers_.hasLate(false);
  uint32_t choice = random_.below(threads * kThread + kClients + 2 + (handlers_.isAwake() ? 3 : 0) +
                                  (has_late ? 2 : 0));
  if (choice < threads * kThread) return runLoop(*loops[choice / kThread]);
  choice -= threads * kThread;
  if (choice < kClients) {
    Client& client = *clients_[random_.below(static_cast<uint32_t>(clients_.size()))];
    if (client.mayAct()) client.act();
    return;
  }
  choice -= kClients;
  if (choice < 2) return disturb();
  choice -= 2;
  if (handlers_.isAwake() && choice < 3) return handlers_.turn();
  handlers_.answerLate(false);
}

void World::stepPool() {
  const uint32_t choice = random_.below(10);
  if (choice == 0) return pool_->disturb();
  if (choice < 4 && pool_->hasLate(false)) return pool_->answerLate(false);
  if (pool_->awake() > 0) pool_->turn();
}

void World::runLoop(Loop& loop) {
  trace_.note("%s %u runs", loop.name(), loop.number());
  loop.resume();
  if (loop.hasEnded()) trace_.note("%s %u has ended", loop.name(), loop.number());
}

// Time passes, clients come, and the kernel has its moods.
void World::disturb() {
  if (clients_.size() < kMostClients && random_.chance(200)) connect();
  if (random_.chance(300)) {
    const int64_t ns = random_.chance(50) ? 1'100'000'000 : random_.below(20'000'000);
    trace_.note("%lld ns pass", static_cast<long long>(ns));
    kernel_.clock.advance(ns);
  }
  if (random_.chance(plan_.resizes)) resize();
  if (plan_.listener_changes > 0 && random_.chance(plan_.listener_changes)) changeListeners();
  if (plan_.limit_changes > 0 && random_.chance(plan_.limit_changes)) changeLimits();
  if (plan_.overloads > 0 && random_.chance(plan_.overloads)) overload(random_.below(4));
  if (stage_.strikes(Fault::kSpuriousReadiness)) {
    clients_[random_.below(static_cast<uint32_t>(clients_.size()))]->socket().reportSpuriously();
  }
  if (random_.chance(300)) {
    kernel_.limitDescriptors(SIZE_MAX);
  } else if (plan_.rate(Fault::kDescriptorsOut) > 0 && random_.chance(100)) {
    kernel_.limitDescriptors(kernel_.descriptors() + random_.below(3));
  }
}

// As SocketServer::updateLimits() does.
void World::changeLimits() {
  limits_ = makeConnectionLimits(random_, plan_);
  trace_.note("%u connections and %u a second may be now", limits_.max_connections,
              limits_.creation_rate);
  applyLimits();
}

// As SocketServer does in TypeScript where somebody waits for too long.
void World::overload(uint32_t step) {
  if (step > 0) tally_.count(Fault::kOverloadStep);
  trace_.note("overload: step %u", step);
  overload_step_ = step;
  stage_.refuses = step == 3;
  applyLimits();
}

void World::applyLimits() {
  limits_.is_stopped = overload_step_ >= 2;
  quotas_.update(limits_);
  for (auto& thread : processors_) thread->processor.setTimeouts(timeouts());
  most_let_in_ = letIn();
}

Timeouts World::timeouts() const {
  return overload_step_ >= 1 ? plan_.shortened() : plan_.timeouts;
}

// As SocketServer::openListener(), drainListener() and cutListener() do.
void World::changeListeners() {
  if (is_ending_) return;
  const uint32_t choice = random_.below(3);
  if (choice == 0 && listeners_.size() < plan_.framings.size()) {
    tally_.count(Fault::kListenerAdded);
    trace_.note("listener %zu comes", listeners_.size());
    stage_.has_faults = false;
    kernel_.limitDescriptors(SIZE_MAX);
    addListener();
    stage_.has_faults = true;
  } else if (choice == 1 && !acceptors_.empty()) {
    removeListener(*acceptors_[random_.below(static_cast<uint32_t>(acceptors_.size()))]);
  } else if (choice == 2 && plan_.cuts_listeners && !draining_listeners_.empty()) {
    const uint32_t listener = draining_listeners_.back();
    draining_listeners_.pop_back();
    tally_.count(Fault::kListenerCut);
    trace_.note("listener %u is cut", listener);
    handlers_.listenerCut(listener);
    for (auto& client : clients_) {
      if (client->listener() == listener) client->cut();
    }
    endListener(listener, ListenerEnds::Stage::kCut);
  }
}

void World::removeListener(AcceptorThread& thread) {
  const uint32_t listener = thread.listener;
  tally_.count(Fault::kListenerRemoved);
  trace_.note("listener %u is removed", listener);
  thread.acceptor.stop();
  while (!thread.loop.hasEnded()) runLoop(thread.loop);
  for (auto& processor : processors_) processor->processor.forget(thread.acceptor);
  listeners_[listener] = nullptr;
  std::erase(loops_, &thread.loop);
  std::erase_if(acceptors_, [&](const auto& each) { return each.get() == &thread; });
  handlers_.listenerRemoved(listener);
  for (auto& client : clients_) {
    if (client->listener() == listener) client->drainAsked();
  }
  draining_listeners_.push_back(listener);
  endListener(listener, ListenerEnds::Stage::kDraining);
}

void World::endListener(uint32_t listener, ListenerEnds::Stage stage) {
  ends_.advance(static_cast<uint16_t>(listener), stage);
  for (auto& thread : processors_) thread->processor.endListeners();
}

// As SocketServer::resize() does.
void World::resize() {
  const bool is_leaving = std::any_of(leaving_.begin(), leaving_.end(),
                                      [](const auto* thread) { return !thread->loop.hasEnded(); });
  if (is_ending_ || is_leaving) return;
  leaving_.clear();
  const std::vector<ProcessorThread*> serving = this->serving();
  const size_t wanted = random_.between(1, kMostProcessors);
  trace_.note("from %zu to %zu processors", serving.size(), wanted);
  if (wanted > serving.size()) return growBy(wanted - serving.size());
  std::vector<Processor*> heirs;
  for (size_t i = 0; i < wanted; i++) heirs.push_back(&serving[i]->processor);
  for (size_t i = wanted; i < serving.size(); i++) {
    tally_.count(Fault::kProcessorLeaves);
    if (serving[i]->processor.leave(heirs)) leaving_.push_back(serving[i]);
  }
}

std::vector<World::ProcessorThread*> World::serving() const {
  std::vector<ProcessorThread*> serving;
  for (const auto& thread : processors_) {
    if (thread->processor.isHere()) serving.push_back(thread.get());
  }
  return serving;
}

// Whoever has connections leaves, and the heir has none of its own: nothing has started a clock
// there.
void World::handOverToNewcomer() {
  const std::vector<ProcessorThread*> before = serving();
  if (is_ending_ || !leaving_.empty()) return resize();
  growBy(1);
  std::vector<Processor*> heirs;
  for (ProcessorThread* thread : serving()) {
    const bool is_new = std::ranges::find(before, thread) == before.end();
    if (is_new) heirs.push_back(&thread->processor);
  }
  if (heirs.empty()) return resize();
  for (ProcessorThread* thread : before) {
    tally_.count(Fault::kProcessorLeaves);
    if (thread->processor.leave(heirs)) leaving_.push_back(thread);
  }
}

void World::growBy(size_t count) {
  for (auto& thread : processors_) {
    if (count == 0 || !thread->processor.hasLeft()) continue;
    count--;
    tally_.count(Fault::kProcessorComes);
    thread->processor.comeBack();
    thread->processor.openDoors();
    thread->loop.restart();
  }
  for (; count > 0 && processors_.size() < 2 * kMostProcessors; count--) {
    tally_.count(Fault::kProcessorComes);
    addProcessor();
  }
  for (auto& thread : acceptors_) thread->acceptor.roomForConnections();
}

// Nothing is given to a processor that was told to end, or to drain.
void World::finishResize() {
  for (ProcessorThread* thread : leaving_) {
    while (!thread->loop.hasEnded()) runLoop(thread->loop);
  }
  leaving_.clear();
}

void World::beginEnd() {
  finishResize();
  is_ending_ = true;
  if (plan_.end == Plan::End::kStop) return stop();
  trace_.note("drain");
  handlers_.drained();
  for (auto& client : clients_) client->drainAsked();
  for (auto& thread : acceptors_) thread->acceptor.stop();
  for (auto& thread : processors_) thread->processor.drain();
}

void World::stop() {
  trace_.note("stop");
  is_stopped_ = true;
  handlers_.stopped();
  if (pool_ != nullptr) pool_->stop();
  for (auto& client : clients_) client->stopAsked();
  for (auto& thread : acceptors_) thread->acceptor.stop();
  for (auto& thread : processors_) thread->processor.stop(CloseReason::kDeadline);
}

// --- Coming to rest ----------------------------------------------------------------------------

// Until nobody has anything left to do.
void World::settle(bool with_never, bool with_clients) {
  uint32_t rounds = 0;
  do {
    SIM_CHECK(trace_, "no-spin", ++rounds < kMostRoundsToQuiet,
              "there is always one more deadline");
    answerLate(with_never);
    runLoops();
    if (with_clients) {
      for (auto& client : clients_) client->finish();
    }
  } while (!runnable().empty() || handlers_.isAwake() || hasLate(with_never) ||
           advanceToDeadline());
}

bool World::hasLate(bool with_never) const {
  return handlers_.hasLate(with_never) || (pool_ != nullptr && pool_->hasLate(with_never));
}

void World::answerLate(bool with_never) {
  if (handlers_.hasLate(with_never)) handlers_.answerLate(with_never);
  if (pool_ != nullptr && pool_->hasLate(with_never)) pool_->answerLate(with_never);
}

void World::runLoops() {
  uint32_t steps = 0;
  while (true) {
    const std::vector<Loop*> loops = runnable();
    const uint32_t threads = pool_ == nullptr ? 0 : pool_->awake();
    const auto count =
        static_cast<uint32_t>(loops.size()) + (handlers_.isAwake() ? 1 : 0) + threads;
    if (count == 0) return;
    events_++;
    SIM_CHECK(trace_, "no-spin", ++steps < kMostStepsToQuiet, "%s %u doesn't come to rest",
              loops.empty() ? "handlers" : loops[0]->name(),
              loops.empty() ? 0 : loops[0]->number());
    const uint32_t choice = random_.below(count);
    if (choice < loops.size()) {
      runLoop(*loops[choice]);
    } else if (choice < count - threads) {
      handlers_.turn();
    } else {
      pool_->turn();
    }
    checkBounds();
  }
}

bool World::advanceToDeadline() {
  int64_t deadline_ns = handlers_.deadline();
  for (const Loop* loop : loops_) deadline_ns = std::min(deadline_ns, loop->deadline());
  if (deadline_ns == INT64_MAX) return false;
  kernel_.clock.advance(std::max<int64_t>(deadline_ns - kernel_.clock.now(), 0));
  return true;
}

std::vector<Loop*> World::runnable() {
  std::vector<Loop*> loops;
  for (Loop* loop : loops_) {
    if (loop->isRunnable()) loops.push_back(loop);
  }
  if (wasLost()) handlers_.lost();
  return loops;
}

bool World::wasLost() const {
  return std::any_of(processors_.begin(), processors_.end(),
                     [](const auto& thread) { return thread->poller.wasLost(); });
}

// --- What must hold ----------------------------------------------------------------------------

void World::checkBounds() {
  // What lost threads give back comes on top.
  const uint32_t put_back = pool_ == nullptr ? 0 : pool_->putBack();
  SIM_CHECK(trace_, "bounds", requests_.queued() <= plan_.queued_max_requests + put_back,
            "%u requests queued, of which %u were put back", requests_.queued(), put_back);
  if (plan_.pool_threads == 0 || plan_.max_in_flight == 1) {
    // What waited for the end of a throttle begins then: one of each connection.
    const size_t waited = plan_.throttles > 0 && pool_ == nullptr ? clients_.size() : 0;
    SIM_CHECK(trace_, "bounds", requests_.pending() <= plan_.max_pending_requests + waited,
              "%u requests pending", requests_.pending());
  }
  SIM_CHECK(trace_, "wait-told", (requests_.queued() == 0) == (requests_.oldestNs() == INT64_MAX),
            "%u requests queued, the oldest since %lld", requests_.queued(),
            static_cast<long long>(requests_.oldestNs()));
  checkNobodyLetIn();
  // Clients that don't read owe what they owe; above the limit processors have something to do.
  const bool is_quiet = std::ranges::none_of(
      processors_, [](const auto& thread) { return thread->loop.isRunnable(); });
  SIM_CHECK(trace_, "excess-ends", unsent_.excess() <= 0 || !is_quiet || plan_.is_threadless,
            "%lld bytes too many are not sent, and every processor sleeps",
            static_cast<long long>(unsent_.excess()));
  if (pool_ == nullptr) return;
  pool_->checkNobodyIdles();
  pool_->checkKept();
}

void World::checkNothingWaits() {
  bool may_refuse = false;
  for (const Fault fault : {Fault::kAddRefused, Fault::kDescriptorsOut,
                            Fault::kSystemDescriptorsOut, Fault::kPollerLost}) {
    may_refuse = may_refuse || plan_.rate(fault) > 0;
  }
  may_refuse = may_refuse || plan_.limits_addresses;
  for (auto& client : clients_) {
    const bool was_opened = handlers_.hasOpened(*client);
    const bool was_removed = listeners_[client->listener()] == nullptr;
    const bool may_wait = may_refuse || was_removed || isFull(client->listener());
    SIM_CHECK(trace_, "everyone-accepted", was_opened || may_wait || !client->mayAct(),
              "client %u was never accepted", client->number());
    // Parts of frames may hold all memory, and nobody sends the rest.
    if (was_opened && memory_pool_.available() > 0) client->checkNothingWaits();
  }
  checkRemovedListeners();
  checkWaitsTold();
  handlers_.checkNobodyThrottled();
  for (auto& thread : acceptors_) {
    SIM_CHECK(trace_, "nothing-waits", thread->acceptor.counters().parked.value() == 0,
              "%llu sockets are still held back",
              static_cast<unsigned long long>(thread->acceptor.counters().parked.value()));
  }
  SIM_CHECK(trace_, "excess-ends", !quotas_.hasExcess(), "%u connections are too many",
            quotas_.total());
  SIM_CHECK(trace_, "counts-return", requests_.queued() == 0 && requests_.pending() == 0,
            "%u requests queued and %u pending with nothing to do", requests_.queued(),
            requests_.pending());
}

void World::checkRemovedListeners() {
  for (uint32_t i = 0; i < listeners_.size(); i++) {
    if (listeners_[i] != nullptr) continue;
    const uint32_t open = quotas_.ofListener(static_cast<uint16_t>(i));
    SIM_CHECK(trace_, "listener-ends", open == 0 && !handlers_.hasOpen(i),
              "listener %u was removed, and %u of its connections are open", i, open);
    const auto answered = static_cast<int32_t>(ends_.answered(static_cast<uint16_t>(i)));
    SIM_CHECK(trace_, "answers-counted", answered >= 0,
              "listener %u: %d answers since its removal are counted", i, answered);
  }
}

// Whoever comes to this listener has to wait until somebody leaves.
bool World::isFull(uint32_t listener) const {
  const ListenerLimits limits = limitsOf(listener);
  const auto index = static_cast<uint16_t>(listener);
  if (quotas_.ofListener(index) >= limits.max_connections) return true;
  return !limits.is_protected && quotas_.total() >= limits_.max_connections;
}

ListenerLimits World::limitsOf(uint32_t listener) const {
  return listener < limits_.listeners.size() ? limits_.listeners[listener] : ListenerLimits();
}

// Connections of listeners that are not protected.
uint32_t World::letIn() const {
  uint32_t count = 0;
  for (uint32_t i = 0; i < listeners_.size(); i++) {
    if (!limitsOf(i).is_protected) count += quotas_.ofListener(static_cast<uint16_t>(i));
  }
  return count;
}

// What is stopped for overload lets in nobody but whom it had let in before.
void World::checkNobodyLetIn() {
  const uint32_t let_in = letIn();
  SIM_CHECK(trace_, "nobody-let-in", !limits_.is_stopped || let_in <= most_let_in_,
            "%u connections where no more than %u were let in", let_in, most_let_in_);
  most_let_in_ = let_in;
}

// With every loop at rest: whoever looks from outside sees that somebody waits, and that nobody
// does.
void World::checkWaitsTold() {
  for (auto& thread : processors_) {
    const ProcessorCounters& counters = thread->processor.counters();
    const uint64_t waiting =
        counters.waiting_for_room.value() + counters.waiting_for_memory.value();
    const int64_t since_ns = thread->processor.waitsSinceNs();
    SIM_CHECK(trace_, "wait-told",
              waiting > 0 ? since_ns <= kernel_.clock.now() : since_ns == INT64_MAX,
              "processor %u: %llu connections wait, the longest since %lld", thread->processor.id(),
              static_cast<unsigned long long>(waiting), static_cast<long long>(since_ns));
  }
}

void World::checkAccounts() {
  uint64_t requests = 0;
  uint64_t responses = 0;
  uint64_t strays = 0;
  Timed queued;
  Timed sent;
  Timed total;
  for (auto& thread : processors_) {
    const ProcessorCounters& counters = thread->processor.counters();
    SIM_CHECK(trace_, "counts-return",
              counters.connections.value() == 0 && counters.waiting_for_room.value() == 0 &&
                  counters.throttled.value() == 0 && thread->processor.waitsSinceNs() == INT64_MAX,
              "processor %u counts %llu connections, %llu waiting, %llu throttled",
              thread->processor.id(), static_cast<unsigned long long>(counters.connections.value()),
              static_cast<unsigned long long>(counters.waiting_for_room.value()),
              static_cast<unsigned long long>(counters.throttled.value()));
    requests += counters.requests.value();
    responses += counters.responses.value();
    strays += counters.stray_replies.value();
    queued.add(thread->processor.times().response_queue);
    sent.add(thread->processor.times().response_send);
    total.add(thread->processor.times().total);
  }
  tally_.requests += requests;
  SIM_CHECK(trace_, "exactly-one-outcome",
            plan_.negotiates || requests == responses + handlers_.unanswered(),
            "%llu requests, %llu responses, %llu unanswered",
            static_cast<unsigned long long>(requests), static_cast<unsigned long long>(responses),
            static_cast<unsigned long long>(handlers_.unanswered()));
  SIM_CHECK(trace_, "timed-once", sent.count == responses && total.count == responses,
            "%llu responses, of which %llu were timed as sent and %llu in all",
            static_cast<unsigned long long>(responses), static_cast<unsigned long long>(sent.count),
            static_cast<unsigned long long>(total.count));
  // Where nothing was taken up and lost, the parts are the whole.
  const uint64_t parts_ns = queued.sum_ns + sent.sum_ns + kAnswerNs * responses;
  SIM_CHECK(
      trace_, "timed-once",
      queued.count >= responses && total.sum_ns <= parts_ns &&
          (queued.count > responses || total.sum_ns == parts_ns),
      "%llu taken up, %llu sent; %llu ns in all, %llu in parts",
      static_cast<unsigned long long>(queued.count), static_cast<unsigned long long>(responses),
      static_cast<unsigned long long>(total.sum_ns), static_cast<unsigned long long>(parts_ns));
  SIM_CHECK(trace_, "no-strays", strays == 0 || plan_.rate(Fault::kStrayReply) > 0,
            "%llu replies that nobody waited for", static_cast<unsigned long long>(strays));
  SIM_CHECK(trace_, "counts-return", requests_.pending() == 0, "%u requests are still pending",
            requests_.pending());
  SIM_CHECK(trace_, "counts-return", test::freePermits(requests_) == plan_.queued_max_requests,
            "permits were lost");
}

}  // namespace odradek::sim
