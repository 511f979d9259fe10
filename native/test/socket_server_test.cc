// The whole core over real sockets and threads.
#include "../core/socket_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "echo_server.h"
#include "processor_bench.h"
#include "sockets.h"

namespace odradek {
namespace {

using test::Client;
using test::EchoServer;
using test::framed;
using test::openDescriptors;

ServerConfig config(uint32_t threads = 1, uint32_t listeners = 1) {
  ServerConfig config;
  config.network_threads = threads;
  for (uint32_t i = 0; i < listeners; i++) {
    ListenerConfig listener;
    listener.where = {"127.0.0.1", 0};
    config.listeners.push_back(listener);
  }
  return config;
}

// Sends a frame and expects it back.
void expectEcho(Client& client, const std::string& payload) {
  const std::string frame = framed(payload);
  client.send(frame);
  EXPECT_TRUE(client.read(frame.size()) == frame);
}

class SocketServerTest : public testing::Test {
 protected:
  ~SocketServerTest() override { EXPECT_EQ(openDescriptors(), descriptors_before_); }

  const int descriptors_before_ = openDescriptors();
};

TEST_F(SocketServerTest, EchoesOverEveryListenerAndProcessor) {
  EchoServer echo(config(2, 2));
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  ASSERT_NE(echo.port(0), echo.port(1));
  std::vector<Client> clients;
  for (size_t i = 0; i < 8; i++) clients.emplace_back(echo.port(i % 2));
  for (int round = 0; round < 3; round++) {
    for (Client& client : clients) expectEcho(client, "round " + std::to_string(round));
  }
  EXPECT_EQ(echo.opened, 8u);
  for (const Processor* processor : echo.server->processors()) {
    EXPECT_EQ(processor->counters().connections.value(), 4u);
  }
  for (Client& client : clients) client.close();
  for (const CloseReason reason : echo.awaitClosed(8)) {
    EXPECT_EQ(reason, CloseReason::kPeerClosed);
  }
}

TEST_F(SocketServerTest, PipelinedAndLargeFramesComeBackInOrder) {
  EchoServer echo(config());
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  Client client(echo.port());
  std::string sent;
  for (size_t i = 0; i < 2000; i++) {
    sent += framed(std::string(i % 500 == 7 ? 300'000 : i % 100, static_cast<char>('a' + i % 26)));
  }
  std::thread sender([&] { client.send(sent); });
  EXPECT_TRUE(client.read(sent.size()) == sent);
  sender.join();
  client.end();
  EXPECT_TRUE(client.sawEnd());
  EXPECT_EQ(echo.awaitClosed(1)[0], CloseReason::kPeerClosed);
}

// Everything that sleeps is woken: with one place in the queue, each step of each client needs
// the processors, the request channel and the handler to ring each other.
TEST_F(SocketServerTest, NobodySleepsOnWorkWithOnePlaceInTheQueue) {
  ServerConfig tight = config(2);
  tight.queued_max_requests = 1;
  tight.max_pending_requests = 1;
  EchoServer echo(tight);
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; i++) {
    clients.emplace_back([&] {
      Client client(echo.port());
      for (int round = 0; round < 300; round++) expectEcho(client, "ping");
      const std::string batch = framed("a") + framed("b") + framed("c");
      for (int round = 0; round < 50; round++) {
        client.send(batch);
        EXPECT_EQ(client.read(batch.size()), batch);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  echo.stop();
  EXPECT_EQ(echo.answered, 4u * (300 + 150));
}

TEST_F(SocketServerTest, ClientsComeAndGoInEveryWay) {
  EchoServer echo(config(2));
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  constexpr int kThreads = 3;
  constexpr int kRounds = 60;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; round++) {
        Client client(echo.port());
        expectEcho(client, std::string(static_cast<size_t>(round) * 997, 'x'));
        client.send(framed("not waited for"));
        switch ((round + i) % 4) {
          case 0:
            client.reset();
            break;
          case 1:
            client.end();
            EXPECT_EQ(client.read(18), framed("not waited for"));
            EXPECT_TRUE(client.sawEnd());
            break;
          case 2:
            client.send(std::string(3, '\0'));
            break;
          default:
            break;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  echo.awaitClosed(kThreads * kRounds);
  for (const Processor* processor : echo.server->processors()) {
    EXPECT_EQ(processor->counters().connections.value(), 0u);
  }
}

TEST_F(SocketServerTest, DrainAnswersWhatWasReceivedAndRefusesTheRest) {
  EchoServer echo(config(2));
  echo.is_paused = true;
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  Client busy(echo.port());
  Client idle(echo.port());
  busy.send(framed("received"));
  while (echo.opened < 2 || echo.server->requests().queued() == 0) std::this_thread::yield();
  const uint16_t port = echo.port();
  echo.server->drain();
  EXPECT_TRUE(idle.sawEnd());
  EXPECT_FALSE(Client(port).isConnected());
  echo.is_paused = false;
  echo.ring();
  EXPECT_EQ(busy.read(12), framed("received"));
  EXPECT_TRUE(busy.sawEnd());
  busy.close();
  idle.close();
  for (const CloseReason reason : echo.awaitClosed(2)) {
    EXPECT_EQ(reason, CloseReason::kServerClosed);
  }
}

TEST_F(SocketServerTest, StopClosesEverythingAtOnceAndAgainDoesNothing) {
  EchoServer echo(config(2));
  echo.is_paused = true;
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  Client client(echo.port());
  client.send(framed("never answered"));
  while (echo.server->requests().queued() == 0) std::this_thread::yield();
  echo.stop(CloseReason::kDeadline);
  EXPECT_EQ(echo.awaitClosed(1)[0], CloseReason::kDeadline);
  EXPECT_EQ(client.read(1), "");
  echo.stop(CloseReason::kServerClosed);
  EXPECT_EQ(echo.awaitClosed(1).size(), 1u);
}

TEST_F(SocketServerTest, StopsUnderFullTraffic) {
  for (int round = 0; round < 10; round++) {
    EchoServer echo(config(2));
    ASSERT_EQ(echo.start().step, StartError::Step::kNone);
    const uint16_t port = echo.port();
    std::vector<std::thread> clients;
    for (int i = 0; i < 3; i++) {
      clients.emplace_back([port] {
        Client client(port);
        const std::string frame = framed(std::string(5000, 'x'));
        size_t got = 0;
        do {  // until the server closes
          client.send(frame + frame);
          got = client.read(2 * frame.size()).size();
        } while (got == 2 * frame.size());
      });
    }
    while (echo.answered < 5) {
      Client starter(port);
      expectEcho(starter, "go");
    }
    echo.stop(CloseReason::kDeadline);
    for (std::thread& client : clients) client.join();
  }
}

// --- Starts that fail --------------------------------------------------------------------------

TEST_F(SocketServerTest, APortInUseRollsEverythingBack) {
  EchoServer first(config());
  ASSERT_EQ(first.start().step, StartError::Step::kNone);
  const int before = openDescriptors();
  ServerConfig clash = config(2, 3);
  clash.listeners[1].where.port = first.port();
  EchoServer second(clash);
  const StartError error = second.start();
  EXPECT_EQ(error.step, StartError::Step::kListen);
  EXPECT_STREQ(error.call, "bind");
  EXPECT_EQ(error.listener, 1);
  EXPECT_EQ(error.error, EADDRINUSE);
  EXPECT_EQ(second.platform.threads_started, 0) << "nothing runs before all is open";
  EXPECT_EQ(openDescriptors(), before);
  Client client(first.port());
  expectEcho(client, "the first one lives");
}

TEST_F(SocketServerTest, AHostThatIsNoneIsAnError) {
  ServerConfig wrong = config();
  wrong.listeners[0].where.host = "nowhere";
  EchoServer echo(wrong);
  const StartError error = echo.start();
  EXPECT_EQ(error.step, StartError::Step::kListen);
  EXPECT_EQ(error.error, EINVAL);
}

TEST_F(SocketServerTest, EveryThreadThatCantBeCreatedRollsEverythingBack) {
  constexpr int kLoops = 3 + 2;
  for (int failing = 0; failing < kLoops; failing++) {
    EchoServer echo(config(3, 2));
    echo.platform.failing_thread = failing;
    const StartError error = echo.start();
    EXPECT_EQ(error.step, StartError::Step::kThread) << failing;
    EXPECT_EQ(error.error, EAGAIN);
    EXPECT_EQ(echo.platform.threads_started, failing);
    EXPECT_EQ(openDescriptors(), descriptors_before_) << failing;
    EXPECT_EQ(echo.server->listeners().size(), 0u);
  }
}

TEST_F(SocketServerTest, EveryPollerThatCantBeOpenedRollsEverythingBack) {
  constexpr int kLoops = 3 + 2;
  for (int failing = 0; failing < kLoops; failing++) {
    EchoServer echo(config(3, 2));
    echo.platform.failing_poller = failing;
    const StartError error = echo.start();
    EXPECT_EQ(error.step, StartError::Step::kThread) << failing;
    EXPECT_EQ(error.error, EMFILE);
    EXPECT_EQ(echo.platform.threads_started, 0);
    EXPECT_EQ(openDescriptors(), descriptors_before_) << failing;
  }
}

TEST_F(SocketServerTest, AStartMayBeTriedAgain) {
  EchoServer echo(config(2));
  echo.platform.failing_thread = 1;
  EXPECT_EQ(echo.start().step, StartError::Step::kThread);
  echo.platform.failing_thread = -1;
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  Client client(echo.port());
  expectEcho(client, "second try");
}

TEST_F(SocketServerTest, ItsEndStopsIt) {
  auto echo = std::make_unique<EchoServer>(config());
  ASSERT_EQ(echo->start().step, StartError::Step::kNone);
  Client client(echo->port());
  expectEcho(client, "a");
  echo.reset();
  EXPECT_EQ(client.read(1), "");
}

// --- Listeners that come and go ----------------------------------------------------------------

class ListenersTest : public SocketServerTest {
 protected:
  static ListenerConfig anyPort() {
    ListenerConfig listener;
    listener.where = {"127.0.0.1", 0};
    return listener;
  }

  static void add(EchoServer& echo, uint32_t number) {
    ASSERT_EQ(echo.server->openListener(number, anyPort()).step, StartError::Step::kNone);
    ASSERT_EQ(echo.server->serveListener(number).step, StartError::Step::kNone);
  }
};

TEST_F(ListenersTest, ComeAndGoUnderTrafficAndLeaveNoDescriptors) {
  EchoServer echo(config(3));
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  const int before = openDescriptors();
  std::atomic<bool> is_over{false};
  std::thread steady([&, port = echo.port()] {
    Client client(port);
    while (!is_over) expectEcho(client, "steady");
  });
  for (uint32_t number = 1; number <= 40; number++) {
    add(echo, number);
    std::vector<std::thread> clients;
    std::atomic<uint32_t> served{0};
    for (int i = 0; i < 3; i++) {
      clients.emplace_back([&, port = echo.port(number)] {
        Client client(port);
        expectEcho(client, "passing");
        served++;
        // Until its server says goodbye.
        EXPECT_EQ(client.read(1), "");
      });
    }
    while (served < 3) std::this_thread::yield();
    if (number % 4 == 0) echo.resize(1 + number % 3);
    echo.server->drainListener(number);
    for (std::thread& client : clients) client.join();
    while (echo.server->quotas().ofListener(static_cast<uint16_t>(number)) > 0) {
      std::this_thread::yield();
    }
    echo.server->cutListener(number);
  }
  is_over = true;
  steady.join();
  for (const CloseReason reason : echo.awaitClosed(121)) {
    EXPECT_TRUE(reason == CloseReason::kListenerRemoved || reason == CloseReason::kPeerClosed);
  }
  EXPECT_EQ(echo.server->listeners()[1]->accepted, 3u);
  EXPECT_TRUE(echo.resize(3).step == StartError::Step::kNone);
  EXPECT_EQ(openDescriptors(), before);
}

TEST_F(ListenersTest, OneThatCantBeOpenedOrServedLeavesNothing) {
  EchoServer echo(config());
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  const int before = openDescriptors();
  ListenerConfig taken = anyPort();
  taken.where.port = echo.port();
  const StartError error = echo.server->openListener(1, taken);
  EXPECT_EQ(error.step, StartError::Step::kListen);
  EXPECT_EQ(error.error, EADDRINUSE);
  EXPECT_EQ(error.listener, 1);
  EXPECT_EQ(openDescriptors(), before);
  echo.platform.failing_thread = echo.platform.threads_started;
  ASSERT_EQ(echo.server->openListener(1, anyPort()).step, StartError::Step::kNone);
  EXPECT_EQ(echo.server->serveListener(1).step, StartError::Step::kThread);
  EXPECT_EQ(openDescriptors(), before);
  echo.platform.failing_thread = -1;
  add(echo, 2);
  Client client(echo.port(2));
  expectEcho(client, "the next one");
}

TEST_F(ListenersTest, TheLastOneMayGo) {
  EchoServer echo(config(2));
  ASSERT_EQ(echo.start().step, StartError::Step::kNone);
  echo.server->drainListener(0);
  add(echo, 1);
  Client client(echo.port(1));
  expectEcho(client, "hello");
  echo.server->drainListener(1);
  EXPECT_EQ(client.read(1), "");
}

TEST_F(SocketServerTest, OneThatWasNeverStartedEndsQuietly) { EchoServer echo(config(2, 2)); }

}  // namespace
}  // namespace odradek
