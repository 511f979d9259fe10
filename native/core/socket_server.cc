#include "socket_server.h"

#include <cstdio>
#include <utility>

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
                handlerSet(config_)) {}

SocketServer::~SocketServer() { stop(CloseReason::kDeadline); }

StartError SocketServer::start() {
  StartError error = open();
  if (error.step == StartError::Step::kNone) error = startThreads();
  if (error.step != StartError::Step::kNone) {
    stop(CloseReason::kServerClosed);
    acceptors_.clear();
    processors_.clear();
    pollers_.clear();
    bound_.clear();
  }
  return error;
}

StartError SocketServer::open() {
  StartError error = openProcessors();
  if (error.step == StartError::Step::kNone) error = openListeners();
  return error;
}

StartError SocketServer::openProcessors() {
  std::vector<ChannelConfig> channels;
  for (const ListenerConfig& listener : config_.listeners) {
    channels.push_back(
        {&listener.framing, config_.waits_for_accept, config_.max_in_flight_per_connection});
  }
  const bool has_threads = config_.network_threads > 0;
  const uint32_t count = has_threads ? config_.network_threads : 1;
  const ProcessorOptions options = {
      .sleeps_elsewhere = !has_threads,
      .busy_poll_ns = config_.busy_poll_ns,
  };
  for (uint32_t id = 0; id < count; id++) {
    pollers_.push_back(platform_.makePoller());
    processors_.push_back(
        std::make_unique<Processor>(id,
                                    Processor::Seams{*pollers_.back(), platform_.sockets(),
                                                     platform_.clock(), platform_.memory()},
                                    channels, requests_, consumer_, options));
    const int error = processors_.back()->open();
    if (error != 0) return threadError("poller", error);
  }
  return {};
}

StartError SocketServer::openListeners() {
  std::vector<Processor*> processors;
  for (auto& processor : processors_) processors.push_back(processor.get());
  for (size_t i = 0; i < config_.listeners.size(); i++) {
    const ListenerConfig& listener = config_.listeners[i];
    Endpoint bound;
    const char* step = "listen";
    const int fd = platform_.sockets().listen(listener.where, listener.backlog, &bound, &step);
    if (fd < 0) return {StartError::Step::kListen, step, static_cast<int>(i), -fd};
    bound_.push_back(bound);
    pollers_.push_back(platform_.makePoller());
    acceptors_.push_back(std::make_unique<Acceptor>(
        static_cast<uint32_t>(i),
        Acceptor::Seams{*pollers_.back(), platform_.sockets(), platform_.clock()}, processors,
        consumer_));
    const int error = acceptors_.back()->open(fd);
    if (error != 0) return threadError("poller", error);
  }
  return {};
}

StartError SocketServer::startThreads() {
  char name[16];
  int error = 0;
  for (auto& processor : processors_) {
    if (processor.get() == threadless()) continue;
    std::snprintf(name, sizeof(name), "odradek-net-%u", processor->id() % 1000);
    auto thread = platform_.threads().start(name, runProcessor, processor.get(), &error);
    if (thread == nullptr) return threadError("thread", error);
    processor_threads_.push_back(std::move(thread));
  }
  for (size_t i = 0; i < acceptors_.size(); i++) {
    std::snprintf(name, sizeof(name), "odradek-acc-%u", static_cast<unsigned>(i % 1000));
    auto thread = platform_.threads().start(name, runAcceptor, acceptors_[i].get(), &error);
    if (thread == nullptr) return threadError("thread", error);
    acceptor_threads_.push_back(std::move(thread));
  }
  return {};
}

void SocketServer::joinAcceptors() {
  for (auto& acceptor : acceptors_) acceptor->stop();
  acceptor_threads_.clear();
}

void SocketServer::drain() {
  joinAcceptors();
  for (auto& processor : processors_) processor->drain();
}

void SocketServer::stop(CloseReason reason) {
  joinAcceptors();
  closeHandlers();
  for (auto& processor : processors_) processor->stop(reason);
  if (Processor* processor = threadless(); processor != nullptr) {
    while (processor->turn()) {
    }
  }
  processor_threads_.clear();
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

}  // namespace odradek
