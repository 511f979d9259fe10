#include "socket_server.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "bounds.h"
#include "check.h"

namespace odradek {
namespace {

void runProcessor(void* processor) {
  while (static_cast<Processor*>(processor)->turn()) {
  }
}

void runAcceptor(void* acceptor) {
  while (static_cast<Acceptor*>(acceptor)->turn()) {
  }
}

StartError threadError(const char* call, int error) {
  return {StartError::Step::kThread, call, -1, error};
}

std::unique_ptr<HandlerSet> handlerSet(const ServerConfig& config) {
  if (!config.has_handler_pool) return nullptr;
  return std::make_unique<HandlerSet>(config.has_affinity, config.max_in_flight_per_connection);
}

}  // namespace

SocketServer::SocketServer(ServerConfig config, Platform& platform, Consumer& consumer)
    : config_(std::move(config)),
      platform_(platform),
      consumer_(consumer),
      requests_(config_.queued_max_requests, config_.max_pending_requests, consumer,
                handlerSet(config_)),
      memory_pool_(config_.memory.request_bytes, platform.clock()),
      unsent_(config_.memory.unsent_bytes),
      quotas_(config_.connections),
      timeouts_(config_.timeouts) {}

SocketServer::~SocketServer() { stop(CloseReason::kDeadline); }

StartError SocketServer::start() {
  StartError error = open();
  if (error.step == StartError::Step::kNone) error = startThreads();
  if (error.step != StartError::Step::kNone) {
    stop(CloseReason::kServerClosed);
    listeners_.clear();
    processors_.clear();
    made_processors_.clear();
    processor_pollers_.clear();
  }
  return error;
}

StartError SocketServer::open() {
  requests_.open();
  StartError error = openProcessors();
  if (error.step == StartError::Step::kNone) error = openListeners();
  return error;
}

StartError SocketServer::openProcessors() {
  const uint32_t count = config_.network_threads > 0 ? config_.network_threads : 1;
  StartError error;
  while (made_processors_.size() < count && error.step == StartError::Step::kNone) {
    error = makeProcessor();
  }
  return error;
}

StartError SocketServer::makeProcessor() {
  const auto id = static_cast<uint32_t>(made_processors_.size());
  const ProcessorOptions options = {
      .sleeps_elsewhere = config_.network_threads == 0,
      .busy_poll_ns = config_.busy_poll_ns,
      .timeouts = timeouts_,
  };
  auto poller = platform_.makePoller();
  auto processor = std::make_unique<Processor>(
      id, Processor::Seams{*poller, platform_.sockets(), platform_.clock(), platform_.memory()},
      requests_, memory_pool_, unsent_, handovers_, quotas_, ends_, consumer_, options);
  const int error = processor->open();
  if (error != 0) return threadError("poller", error);
  processor_pollers_.push_back(std::move(poller));
  made_processors_.push_back(std::move(processor));
  return {};
}

StartError SocketServer::openListeners() {
  for (auto& processor : made_processors_) processors_.add(processor.get());
  for (uint32_t i = 0; i < config_.listeners.size(); i++) {
    const StartError error = openListener(i, config_.listeners[i]);
    if (error.step != StartError::Step::kNone) return error;
  }
  return {};
}

StartError SocketServer::startThreads() {
  for (Processor* processor : processors_) {
    if (processor == threadless()) continue;
    const StartError error = startProcessor(*processor);
    if (error.step != StartError::Step::kNone) return error;
  }
  for (uint32_t i = 0; i < config_.listeners.size(); i++) {
    const StartError error = serveListener(i);
    if (error.step != StartError::Step::kNone) return error;
  }
  return {};
}

StartError SocketServer::startProcessor(Processor& processor) {
  char name[16];
  int error = 0;
  std::snprintf(name, sizeof(name), "odradek-net-%u", processor.id() % 1000);
  auto thread = platform_.threads().start(name, runProcessor, &processor, &error);
  if (thread == nullptr) return threadError("thread", error);
  processor_threads_[processor.id()] = std::move(thread);
  return {};
}

void SocketServer::joinAcceptors() {
  for (auto& listener : listeners_) {
    if (listener != nullptr && listener->acceptor != nullptr) listener->acceptor->stop();
  }
  for (auto& listener : listeners_) {
    if (listener != nullptr) listener->thread.reset();
  }
}

void SocketServer::drain() {
  joinAcceptors();
  joinLeaving();
  for (Processor* processor : processors_) processor->drain();
}

void SocketServer::closeIdle() {
  for (Processor* processor : processors_) processor->closeIdle();
}

void SocketServer::updateLimits(const Timeouts& timeouts, ConnectionLimits connections,
                                const MemoryLimits& memory) {
  memory_pool_.resize(memory.request_bytes);
  unsent_.resize(memory.unsent_bytes);
  timeouts_ = timeouts;
  quotas_.update(std::move(connections));
  // Wakes them, and they look for what is too many, too.
  for (Processor* processor : processors_) processor->setTimeouts(timeouts);
}

int64_t SocketServer::longestWaitNs() const {
  int64_t since_ns = requests_.oldestNs();
  for (const Processor* processor : processors_) {
    since_ns = std::min(since_ns, processor->waitsSinceNs());
  }
  // Another thread's clock may be ahead by as much as it was kept away.
  return since_ns == INT64_MAX ? 0 : std::max<int64_t>(platform_.clock().now() - since_ns, 0);
}

void SocketServer::stop(CloseReason reason) {
  joinAcceptors();
  requests_.shut();
  closeHandlers();
  // Nothing is given to a processor that was told to end.
  joinLeaving();
  for (Processor* processor : processors_) processor->stop(reason);
  if (Processor* processor = threadless(); processor != nullptr) {
    while (processor->turn()) {
    }
  }
  for (auto& thread : processor_threads_) thread.reset();
}

std::shared_ptr<RequestHandler> SocketServer::openHandler(uint32_t place, uint32_t capacity) {
  auto handler = std::make_shared<RequestHandler>(
      place, capacity, config_.max_in_flight_per_connection, requests_, *this);
  if (handlers_.size() <= place) handlers_.resize(place + 1);
  handlers_[place] = handler;
  requests_.enter(place, handler);
  return handler;
}

RequestHandler::Remains SocketServer::closeHandler(uint32_t place) {
  const bool is_there = place < handlers_.size() && handlers_[place] != nullptr;
  if (!is_there) return {};
  return std::exchange(handlers_[place], nullptr)->detach();
}

void SocketServer::retireHandler(uint32_t place) { requests_.retire(place); }

// No handler thread is within a call of ours from here on. Their requests end with the connections.
void SocketServer::closeHandlers() {
  for (uint32_t place = 0; place < handlers_.size(); place++) closeHandler(place).letGo();
}

std::optional<ConnectionInfo> SocketServer::describe(const ChannelId& channel) {
  return processors_[channel.processor]->describe(channel);
}

void SocketServer::submit(uint32_t processor, CommandBatch* batch) {
  processors_[processor]->submit(batch);
}

// --- More and fewer listeners -------------------------------------------------------------------

StartError SocketServer::openListener(uint32_t number, const ListenerConfig& config) {
  ODRADEK_REQUIRE(number < kMaxListeners);
  if (listeners_.size() <= number) listeners_.resize(number + 1);
  ODRADEK_REQUIRE(listeners_[number] == nullptr);
  auto listener = std::make_unique<Listener>();
  const char* call = "listen";
  SocketOps& sockets = platform_.sockets();
  const int fd = sockets.listen(config.where, config.backlog, &listener->bound, &call);
  if (fd < 0) return {StartError::Step::kListen, call, static_cast<int>(number), -fd};
  listener->framing = config.framing;
  listener->channel = {&listener->framing, config_.waits_for_accept,
                       config_.max_in_flight_per_connection};
  listener->poller = platform_.makePoller();
  listener->acceptor = std::make_unique<Acceptor>(
      number, listener->channel, Acceptor::Seams{*listener->poller, sockets, platform_.clock()},
      processors_, quotas_, consumer_);
  const int error = listener->acceptor->open(fd);
  if (error != 0) return threadError("poller", error);
  listeners_[number] = std::move(listener);
  return {};
}

StartError SocketServer::serveListener(uint32_t number) {
  Listener& listener = *listeners_[number];
  char name[16];
  int error = 0;
  std::snprintf(name, sizeof(name), "odradek-acc-%u", number % 1000);
  listener.thread = platform_.threads().start(name, runAcceptor, listener.acceptor.get(), &error);
  if (listener.thread != nullptr) return {};
  closeListener(listener);
  return threadError("thread", error);
}

void SocketServer::closeListener(Listener& listener) {
  if (listener.acceptor == nullptr) return;
  listener.acceptor->stop();
  listener.thread.reset();
  for (Processor* processor : processors_) processor->forget(*listener.acceptor);
  listener.accepted = listener.acceptor->counters().accepted.value();
  listener.errors = listener.acceptor->counters().errors.value();
  listener.acceptor.reset();
  listener.poller.reset();
}

void SocketServer::drainListener(uint32_t number) {
  closeListener(*listeners_[number]);
  endListener(number, ListenerEnds::Stage::kDraining);
}

void SocketServer::cutListener(uint32_t number) { endListener(number, ListenerEnds::Stage::kCut); }

void SocketServer::endListener(uint32_t number, ListenerEnds::Stage stage) {
  ends_.advance(static_cast<uint16_t>(number), stage);
  for (Processor* processor : processors_) processor->endListeners();
}

uint32_t SocketServer::answeredSinceDrain(uint32_t number) const {
  return ends_.answered(static_cast<uint16_t>(number));
}

// --- More and fewer processors -----------------------------------------------------------------

std::vector<Processor*> SocketServer::serving() const {
  std::vector<Processor*> serving;
  for (Processor* processor : processors_) {
    if (processor->isHere()) serving.push_back(processor);
  }
  return serving;
}

StartError SocketServer::resize(uint32_t network_threads) {
  ODRADEK_REQUIRE(config_.network_threads > 0 && network_threads > 0);
  ODRADEK_REQUIRE(leaving_.empty());
  const std::vector<Processor*> now = serving();
  if (network_threads > now.size()) return addProcessors(network_threads - now.size());
  removeProcessors(now, now.size() - network_threads);
  return {};
}

StartError SocketServer::addProcessors(size_t count) {
  std::vector<Processor*> added;
  StartError error;
  const auto add = [&](Processor* processor) {
    const int refused = processor->comeBack();
    error = refused == 0 ? startProcessor(*processor) : threadError("memory", refused);
    if (error.step == StartError::Step::kNone) return added.push_back(processor);
    if (refused != 0) return;
    processor->leave({});
    while (processor->turn()) {
    }
  };
  // Those that have left before, then new ones.
  for (Processor* processor : processors_) {
    const bool is_away = processor->hasLeft();
    if (is_away && added.size() < count && error.step == StartError::Step::kNone) add(processor);
  }
  while (added.size() < count && error.step == StartError::Step::kNone) {
    error = made_processors_.size() < kMaxProcessors ? makeProcessor()
                                                     : threadError("processor", EAGAIN);
    if (error.step != StartError::Step::kNone) break;
    Processor* processor = made_processors_.back().get();
    processor->closeDoors();
    processors_.add(processor);
    add(processor);
  }
  if (error.step != StartError::Step::kNone) {
    // Nobody has given them anything: they have nothing to hand over, and are gone at once.
    removeProcessors(added, added.size());
    joinLeaving();
    return error;
  }
  for (Processor* processor : added) processor->openDoors();
  for (auto& listener : listeners_) {
    const bool is_open = listener != nullptr && listener->acceptor != nullptr;
    if (is_open) listener->acceptor->roomForConnections();
  }
  return {};
}

// The last `count` of those that serve.
void SocketServer::removeProcessors(const std::vector<Processor*>& serving, size_t count) {
  const std::vector<Processor*> heirs(serving.begin(), serving.end() - static_cast<long>(count));
  for (size_t i = heirs.size(); i < serving.size(); i++) {
    if (serving[i]->leave(heirs)) leaving_.push_back(serving[i]);
  }
}

bool SocketServer::isResizing() {
  std::erase_if(leaving_, [this](const Processor* processor) {
    if (processor->isHere()) return false;
    processor_threads_[processor->id()].reset();
    return true;
  });
  return !leaving_.empty();
}

void SocketServer::joinLeaving() {
  for (const Processor* processor : leaving_) processor_threads_[processor->id()].reset();
  leaving_.clear();
}

}  // namespace odradek
