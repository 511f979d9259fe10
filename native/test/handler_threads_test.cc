// The whole core with a pool of real handler threads, which are given up and replaced while clients
// are served: every request is started by one of them and answered once, in order.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "echo_server.h"
#include "free_permits.h"
#include "processor_bench.h"
#include "sockets.h"

namespace odradek {
namespace {

using test::Client;
using test::EchoServer;
using test::framed;

constexpr uint32_t kPlaces = 3;
constexpr uint32_t kProcessors = 2;
constexpr uint32_t kClients = 4;
// At most; clients stop once enough threads were lost.
constexpr uint32_t kBatches = 10'000;
constexpr uint32_t kPerBatch = 5;
constexpr uint32_t kLosses = 60;
constexpr uint32_t kCapacity = 3 * kFramesPerBatch;

// What all threads have done, by connection.
struct Record {
  struct Connection {
    std::atomic<uint32_t> started[kBatches * kPerBatch] = {};
    std::atomic<uint32_t> next{0};
  };

  Connection& of(const ChannelId& channel) {
    return connections[channel.processor * kClients + channel.slot];
  }

  void start(const Request& request) {
    Connection& connection = of(request.channel);
    if (connection.started[request.sequence].fetch_add(1) != 0) twice++;
    // It is beyond this one already if the thread was given up just now.
    if (is_one_at_a_time && connection.next.load() < request.sequence) together++;
  }

  // Before the answer is given; one that was given up may say so too late.
  void answer(const Request& request) {
    std::atomic<uint32_t>& next = of(request.channel).next;
    uint32_t known = next.load();
    while (known < request.sequence + 1 &&
           !next.compare_exchange_weak(known, request.sequence + 1)) {
    }
  }

  explicit Record(bool is_one_at_a_time) : is_one_at_a_time(is_one_at_a_time) {}
  const bool is_one_at_a_time;
  Connection connections[kProcessors * kClients];
  std::atomic<uint32_t> twice{0};
  std::atomic<uint32_t> together{0};
};

Command echoOf(const Request& request) {
  Command reply;
  reply.channel = request.channel;
  reply.sequence = request.sequence;
  reply.settles = 1;
  reply.block = request.block;  // with its reference
  reply.offset = request.offset;
  reply.length = request.frame_bytes;
  return reply;
}

class HandlerThread final : public Waker {
 public:
  HandlerThread(SocketServer& server, uint32_t place, Record& record, uint32_t seed)
      : handler_(server.openHandler(place, kCapacity)), record_(record), random_(seed) {
    thread_ = std::thread([this] { run(); });
  }
  ~HandlerThread() {
    {
      std::lock_guard lock(mutex_);
      is_ended_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

  uint64_t claimed() const { return handler_->claimed(); }

  void wake() override {
    std::lock_guard lock(mutex_);
    is_woken_ = true;
    changed_.notify_all();
  }
  bool isWaiting() override {
    std::lock_guard lock(mutex_);
    return is_waiting_;
  }

 private:
  void run() {
    if (handler_->enter(*this, marks_)) {
      while (turn()) {
      }
    }
    handler_->leave();
    for (const Request& request : held_) request.block->release();
  }

  // False: the thread ends, with whatever it has in its hands.
  bool turn() {
    std::vector<Request> taken;
    std::vector<uint32_t> tickets;
    handler_->doorbell().awake();
    const bool is_drained = handler_->claim(taken, tickets);
    takeEvents();
    size_t started = 0;
    for (; started < taken.size() && start(taken[started], tickets[started]); started++) {
      held_.push_back(taken[started]);
      // Some are answered at once, some with those that follow.
      if (record_.is_one_at_a_time || random_() % 2 == 0) answerAll();
    }
    if (started < taken.size()) {
      for (; started < taken.size(); started++) taken[started].block->release();
      return false;
    }
    if (is_drained) answerAll();
    std::unique_lock lock(mutex_);
    if (is_ended_) return false;
    lock.unlock();
    if (!is_drained || !handler_->rest(true) || !handler_->doorbell().trySleep()) return true;
    lock.lock();
    is_waiting_ = true;
    changed_.wait(lock, [this] { return is_woken_ || is_ended_; });
    is_waiting_ = false;
    is_woken_ = false;
    return !is_ended_;
  }

  bool start(const Request& request, uint32_t ticket) {
    std::atomic_ref(marks_[ticket]).store(1);
    if (std::atomic_ref(marks_[kCapacity]).load() != 0) return false;
    record_.start(request);
    return true;
  }

  // The youngest first, so that replies come before their turn.
  void answerAll() {
    std::vector<Command> commands;
    for (; !held_.empty(); held_.pop_back()) {
      record_.answer(held_.back());
      commands.push_back(echoOf(held_.back()));
    }
    handler_->submit(commands);
  }

  void takeEvents() {
    Event* event = handler_->events().takeAll();
    while (event != nullptr) {
      if (event->kind == Event::Kind::kClosed) handler_->forget(event->channel);
      delete std::exchange(event, event->next);
    }
  }

  const std::shared_ptr<RequestHandler> handler_;
  Record& record_;
  std::minstd_rand random_;
  uint8_t marks_[kCapacity + 1] = {};
  std::vector<Request> held_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_waiting_ = false;
  bool is_woken_ = false;
  bool is_ended_ = false;
  std::thread thread_;
};

// What the server's thread does with a thread that it gives up: answers what that one had started.
void giveUp(SocketServer& server, uint32_t place, Record& record) {
  const RequestHandler::Remains remains = server.closeHandler(place);
  for (const Request& request : remains.started) {
    record.answer(request);
    auto* batch = new CommandBatch();
    batch->commands.push_back(echoOf(request));
    server.submit(request.channel.processor, batch);
  }
  server.requests().putBack(remains.waiting);
}

// Counts itself among the served with its first replies.
void exchange(uint16_t port, char letter, std::atomic<uint32_t>& served,
              const std::atomic<bool>& is_enough) {
  Client client(port);
  for (uint32_t batch = 0; batch < kBatches && !is_enough; batch++) {
    std::string frames;
    for (uint32_t i = 0; i < kPerBatch; i++) {
      frames += framed(std::to_string(batch * kPerBatch + i) + letter);
    }
    client.send(frames);
    ASSERT_EQ(client.read(frames.size()), frames);
    if (batch == 0) served++;
  }
  client.end();
  EXPECT_TRUE(client.sawEnd());
}

struct Case {
  bool has_affinity;
  uint16_t max_in_flight;
  uint32_t max_pending;
};

class HandlerThreads : public testing::TestWithParam<Case> {};

TEST_P(HandlerThreads, ThatAreLostAndReplacedLoseNothingAndDoNothingTwice) {
  const Case& parameters = GetParam();
  ServerConfig config;
  config.network_threads = kProcessors;
  config.listeners.push_back({});
  config.listeners[0].where = {"127.0.0.1", 0};
  config.max_in_flight_per_connection = parameters.max_in_flight;
  config.queued_max_requests = 7;
  config.max_pending_requests = parameters.max_pending;
  config.has_handler_pool = true;
  config.has_affinity = parameters.has_affinity;
  EchoServer owner(config);
  ASSERT_EQ(owner.start().step, StartError::Step::kNone);
  SocketServer& server = *owner.server;

  const auto owned = std::make_unique<Record>(parameters.max_in_flight == 1);
  Record& record = *owned;
  uint32_t seed = 0;
  std::vector<std::unique_ptr<HandlerThread>> threads;
  for (uint32_t place = 0; place < kPlaces; place++) {
    threads.push_back(std::make_unique<HandlerThread>(server, place, record, ++seed));
  }
  std::atomic<uint32_t> left{kClients};
  std::atomic<uint32_t> served{0};
  std::atomic<bool> is_enough{false};
  std::vector<std::thread> clients;
  for (uint32_t i = 0; i < kClients; i++) {
    clients.emplace_back([&, i] {
      exchange(owner.port(), static_cast<char>('a' + i), served, is_enough);
      left--;
    });
  }
  // With affinity each connection has its place now, and no place is without: one that nobody
  // comes to would claim nothing.
  while (served < kClients && left > 0) std::this_thread::yield();
  std::minstd_rand random(1);
  uint32_t losses = 0;
  for (; losses < kLosses && left > 0; losses++) {
    const uint32_t place = random() % kPlaces;
    // It has some in its hands, or has just answered them.
    const uint64_t claims = random() % 30;
    while (threads[place]->claimed() < claims && left > 0) std::this_thread::yield();
    giveUp(server, place, record);
    const auto lost = std::exchange(threads[place],
                                    std::make_unique<HandlerThread>(server, place, record, ++seed));
  }
  is_enough = true;
  for (std::thread& client : clients) client.join();
  for (const CloseReason reason : owner.awaitClosed(kClients)) {
    EXPECT_EQ(reason, CloseReason::kPeerClosed);
  }
  EXPECT_EQ(losses, kLosses) << "clients ended before";
  EXPECT_EQ(record.twice, 0u) << "requests were started by two threads";
  EXPECT_EQ(record.together, 0u) << "requests of a connection were started together";
  for (uint32_t place = 0; place < kPlaces; place++) giveUp(server, place, record);
  threads.clear();
  EXPECT_EQ(server.requests().queued(), 0u);
  EXPECT_EQ(server.requests().pending(), 0u);
  EXPECT_EQ(test::freePermits(server.requests()), config.queued_max_requests);
}

INSTANTIATE_TEST_SUITE_P(EveryWay, HandlerThreads,
                         testing::Values(Case{false, 1, 65536}, Case{false, 8, 65536},
                                         Case{true, 1, 65536}, Case{true, 8, 65536},
                                         Case{false, 1, 2}, Case{true, 8, 2}));

}  // namespace
}  // namespace odradek
