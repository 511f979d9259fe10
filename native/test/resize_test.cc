// More and fewer processors under traffic, over real sockets and threads.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../core/socket_server.h"
#include "../platform/system_memory.h"
#include "../platform/system_platform.h"
#include "echo_server.h"
#include "processor_bench.h"
#include "sockets.h"

namespace odradek {
namespace {

using test::Client;
using test::EchoServer;
using test::framed;
using test::openDescriptors;

ServerConfig config(uint32_t threads) {
  ServerConfig config;
  config.network_threads = threads;
  config.listeners.resize(1);
  config.listeners[0].where = {"127.0.0.1", 0};
  return config;
}

void expectEcho(Client& client, const std::string& payload) {
  const std::string frame = framed(payload);
  client.send(frame);
  EXPECT_TRUE(client.read(frame.size()) == frame);
}

class ResizeTest : public testing::Test {
 protected:
  ~ResizeTest() override { EXPECT_EQ(openDescriptors(), descriptors_before_); }

  static uint64_t connectionsOf(const EchoServer& echo, size_t id) {
    return echo.server->processors()[id]->counters().connections.value();
  }

  static bool isOk(const StartError& error) { return error.step == StartError::Step::kNone; }

  const int descriptors_before_ = openDescriptors();
};

// Frames of many sizes in pieces of many sizes, one after the other or many at once; ends when
// told.
class Talker {
 public:
  Talker(uint16_t port, uint32_t seed) : seed_(seed), thread_([this, port] { talk(port); }) {}
  ~Talker() {
    is_told_ = true;
    thread_.join();
    EXPECT_GT(rounds_, 0u);
  }

 private:
  void talk(uint16_t port) {
    Client client(port);
    while (!is_told_ || rounds_ == 0) {
      std::string sent;
      for (uint32_t i = next() % 20; i < 20; i++) {
        const size_t bytes = next() % 30 == 0 ? next() % 200'000 : next() % 300;
        sent += framed(std::string(bytes, static_cast<char>('a' + next() % 26)));
      }
      const size_t first = next() % sent.size();
      client.send(sent.substr(0, first));
      std::this_thread::yield();
      client.send(sent.substr(first));
      const std::string received = client.read(sent.size());
      if (received != sent) {
        ADD_FAILURE() << "client " << seed_ << ": " << received.size() << " bytes of "
                      << sent.size() << " came back, or others";
        return;
      }
      rounds_++;
    }
  }

  uint32_t next() {
    state_ = state_ * 1'664'525 + 1'013'904'223 + seed_;
    return state_ >> 8;
  }

  const uint32_t seed_;
  uint32_t state_ = 1;
  uint32_t rounds_ = 0;
  std::atomic<bool> is_told_{false};
  std::thread thread_;
};

TEST_F(ResizeTest, NothingIsLostUnderTraffic) {
  EchoServer echo(config(3));
  ASSERT_TRUE(isOk(echo.start()));
  {
    std::vector<std::unique_ptr<Talker>> talkers;
    for (uint32_t i = 0; i < 4; i++) talkers.push_back(std::make_unique<Talker>(echo.port(), i));
    uint32_t state = 7;
    for (int round = 0; round < 150; round++) {
      state = state * 1'664'525 + 1'013'904'223;
      ASSERT_TRUE(isOk(echo.resize(1 + (state >> 16) % 4)));
      Client passing(echo.port());
      expectEcho(passing, std::to_string(round));
    }
  }
  EXPECT_LE(echo.server->processors().size(), 4u);
  EXPECT_TRUE(isOk(echo.resize(1)));
  EXPECT_EQ(echo.fatal, 0);
  echo.awaitClosed(154);
  EXPECT_EQ(connectionsOf(echo, 0), 0u);
}

// Handler threads of which each has a connection, and gives it numbers, one command after the
// other.
class Counting final : public Consumer {
 public:
  explicit Counting(uint32_t threads) : server(config(threads), systemPlatform(), *this) {}
  ~Counting() {
    server.stop(CloseReason::kServerClosed);
    takeEvents();
  }

  // Blocks until a connection is open that was not returned before.
  ChannelId awaitOpened() {
    while (opened_.empty()) {
      takeEvents();
      std::this_thread::yield();
    }
    const ChannelId id = opened_.back();
    opened_.pop_back();
    return id;
  }

  void resize(uint32_t threads) {
    ASSERT_EQ(server.resize(threads).step, StartError::Step::kNone);
    while (server.isResizing()) std::this_thread::yield();
  }

  static constexpr uint32_t kNumbers = 20'000;

  // Until kNumbers were given.
  void give(const ChannelId& id) {
    for (uint32_t i = 0; i < kNumbers; i++) {
      Command command;
      command.channel = id;
      command.block = Block::make(systemMemory(), sizeof(i));
      std::memcpy(command.block->data(), &i, sizeof(i));
      command.length = sizeof(i);
      auto* batch = new CommandBatch();
      batch->commands.push_back(command);
      server.submit(id.processor, batch);
    }
  }

  SocketServer server;

 private:
  void wake() override {}

  void takeEvents() {
    Event* event = events().takeAll();
    while (event != nullptr) {
      if (event->kind == Event::Kind::kOpened) opened_.push_back(event->channel);
      delete std::exchange(event, event->next);
    }
  }

  std::vector<ChannelId> opened_;
};

TEST_F(ResizeTest, CommandsOfManyThreadsKeepTheirOrder) {
  Counting counting(3);
  ASSERT_TRUE(isOk(counting.server.start()));
  constexpr int kThreads = 4;
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) {
    auto client = std::make_shared<Client>(counting.server.listeners()[0]->bound.port);
    const ChannelId id = counting.awaitOpened();
    threads.emplace_back([&counting, id] { counting.give(id); });
    threads.emplace_back([&done, client] {
      for (uint32_t expected = 0; expected < Counting::kNumbers; expected++) {
        const std::string bytes = client->read(sizeof(expected));
        uint32_t number = UINT32_MAX;
        if (bytes.size() == sizeof(number)) std::memcpy(&number, bytes.data(), sizeof(number));
        EXPECT_EQ(number, expected);
        if (number != expected) break;
      }
      done++;
    });
  }
  for (uint32_t i = 0; done < kThreads; i++) counting.resize(1 + i * 2 % 3);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ResizeTest, IdleConnectionsAreSharedByThoseThatStay) {
  EchoServer echo(config(4));
  ASSERT_TRUE(isOk(echo.start()));
  std::vector<Client> clients;
  for (int i = 0; i < 40; i++) clients.emplace_back(echo.port());
  for (Client& client : clients) expectEcho(client, "before");
  ASSERT_TRUE(isOk(echo.resize(2)));
  for (Client& client : clients) expectEcho(client, "with two");
  EXPECT_EQ(connectionsOf(echo, 0), 20u);
  EXPECT_EQ(connectionsOf(echo, 1), 20u);
  EXPECT_EQ(connectionsOf(echo, 2) + connectionsOf(echo, 3), 0u);
  ASSERT_TRUE(isOk(echo.resize(4)));
  for (int i = 0; i < 4; i++) {
    clients.emplace_back(echo.port());
    expectEcho(clients.back(), "new");
  }
  EXPECT_EQ(connectionsOf(echo, 2), 1u) << "new connections go to all, old ones stay";
  ASSERT_TRUE(isOk(echo.resize(1)));
  for (Client& client : clients) expectEcho(client, "with one");
  EXPECT_EQ(connectionsOf(echo, 0), clients.size());
}

TEST_F(ResizeTest, RequestsParkedMeanwhileAreAnswered) {
  EchoServer echo(config(2));
  echo.is_paused = true;
  ASSERT_TRUE(isOk(echo.start()));
  std::vector<Client> clients;
  for (int i = 0; i < 10; i++) {
    clients.emplace_back(echo.port());
    clients.back().send(framed("parked") + framed("half").substr(0, 6));
  }
  while (echo.server->requests().queued() < clients.size()) std::this_thread::yield();
  for (const uint32_t threads : {1, 3, 2, 1}) ASSERT_TRUE(isOk(echo.resize(threads)));
  echo.is_paused = false;
  echo.ring();
  for (Client& client : clients) {
    EXPECT_EQ(client.read(10), framed("parked"));
    client.send(framed("half").substr(6));
    EXPECT_EQ(client.read(8), framed("half"));
  }
}

TEST_F(ResizeTest, TheSameNumberChangesNothing) {
  EchoServer echo(config(2));
  ASSERT_TRUE(isOk(echo.start()));
  ASSERT_TRUE(isOk(echo.resize(2)));
  EXPECT_FALSE(echo.server->isResizing());
  EXPECT_EQ(echo.platform.threads_started, 3);
  EXPECT_EQ(echo.left, 0);
}

TEST_F(ResizeTest, AThreadThatCantBeCreatedChangesNothing) {
  EchoServer echo(config(2));
  ASSERT_TRUE(isOk(echo.start()));
  std::vector<Client> clients;
  for (int i = 0; i < 6; i++) clients.emplace_back(echo.port());
  ASSERT_TRUE(isOk(echo.resize(1)));
  // The first comes back, the second is new, the third can't be started.
  echo.platform.failing_thread = echo.platform.threads_started + 2;
  const StartError error = echo.resize(4);
  EXPECT_EQ(error.step, StartError::Step::kThread);
  EXPECT_EQ(error.error, EAGAIN);
  for (Client& client : clients) expectEcho(client, "still one");
  EXPECT_EQ(connectionsOf(echo, 0), clients.size());
  clients.emplace_back(echo.port());
  expectEcho(clients.back(), "also served by the one");
  EXPECT_EQ(connectionsOf(echo, 0), clients.size());
  echo.platform.failing_thread = -1;
  ASSERT_TRUE(isOk(echo.resize(4)));
  EXPECT_EQ(echo.server->processors().size(), 4u);
}

TEST_F(ResizeTest, APollerThatCantBeOpenedChangesNothing) {
  EchoServer echo(config(1));
  ASSERT_TRUE(isOk(echo.start()));
  echo.platform.failing_poller = echo.platform.pollers;
  const StartError error = echo.resize(2);
  EXPECT_EQ(error.step, StartError::Step::kThread);
  EXPECT_EQ(error.error, EMFILE);
  Client client(echo.port());
  expectEcho(client, "on");
  ASSERT_TRUE(isOk(echo.resize(2)));
}

TEST_F(ResizeTest, NoMoreThanTheBound) {
  EchoServer echo(config(1));
  ASSERT_TRUE(isOk(echo.start()));
  const StartError error = echo.resize(kMaxProcessors + 1);
  EXPECT_EQ(error.step, StartError::Step::kThread);
  Client client(echo.port());
  expectEcho(client, "on");
}

TEST_F(ResizeTest, AStopInTheMiddleClosesEverything) {
  for (int round = 0; round < 20; round++) {
    EchoServer echo(config(3));
    ASSERT_TRUE(isOk(echo.start()));
    std::vector<Client> clients;
    for (int i = 0; i < 9; i++) clients.emplace_back(echo.port());
    for (Client& client : clients) expectEcho(client, "hello");
    ASSERT_TRUE(isOk(echo.server->resize(1)));
    echo.stop(CloseReason::kServerClosed);
    EXPECT_EQ(echo.awaitClosed(9).size(), 9u);
  }
}

TEST_F(ResizeTest, ADrainInTheMiddleAnswersWhatWasReceived) {
  EchoServer echo(config(3));
  echo.is_paused = true;
  ASSERT_TRUE(isOk(echo.start()));
  std::vector<Client> clients;
  for (int i = 0; i < 9; i++) {
    clients.emplace_back(echo.port());
    clients.back().send(framed("received"));
  }
  while (echo.server->requests().queued() < clients.size()) std::this_thread::yield();
  ASSERT_TRUE(isOk(echo.server->resize(1)));
  echo.server->drain();
  echo.is_paused = false;
  echo.ring();
  for (Client& client : clients) {
    EXPECT_EQ(client.read(12), framed("received"));
    EXPECT_TRUE(client.sawEnd());
    client.close();
  }
  for (const CloseReason reason : echo.awaitClosed(9)) {
    EXPECT_EQ(reason, CloseReason::kServerClosed);
  }
}

}  // namespace
}  // namespace odradek
