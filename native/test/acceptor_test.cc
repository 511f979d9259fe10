#include "../core/acceptor.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "../core/bounds.h"
#include "fake_consumer.h"
#include "fake_kernel.h"
#include "fake_memory.h"

namespace odradek {
namespace {

using test::FakeConnection;
using test::FakeConsumer;
using test::FakeKernel;
using test::FakeListener;
using test::FakeMemory;
using test::FakePoller;

// An acceptor with processors that the test steps, so that it decides when their queues empty.
class AcceptorTest : public testing::Test {
 protected:
  struct Loop {
    explicit Loop(FakeKernel& kernel) : poller(kernel) {}
    FakePoller poller;
    std::unique_ptr<Processor> processor;
  };

  AcceptorTest() : listener(kernel.openListener()), poller(kernel) {}

  ~AcceptorTest() override {
    acceptor.reset();
    for (auto& loop : loops) {
      loop->processor->stop(CloseReason::kDeadline);
      EXPECT_FALSE(loop->processor->turn());
    }
    loops.clear();
    EXPECT_EQ(kernel.descriptors(), 0u);
    EXPECT_EQ(kernel.misuses(), std::vector<std::string>());
  }

  void open(uint32_t processors) {
    for (uint32_t id = 0; id < processors; id++) {
      loops.push_back(std::make_unique<Loop>(kernel));
      Loop& loop = *loops.back();
      loop.processor = std::make_unique<Processor>(
          id, Processor::Seams{loop.poller, kernel, kernel.clock, memory}, requests, memory_pool,
          unsent, handovers, quotas, ends, consumer);
      ASSERT_EQ(loop.processor->open(), 0);
      processor_list.add(loop.processor.get());
    }
    acceptor = std::make_unique<Acceptor>(0, config, Acceptor::Seams{poller, kernel, kernel.clock},
                                          processor_list, quotas, consumer);
    ASSERT_EQ(acceptor->open(listener.fd()), 0);
  }

  // Turns until the acceptor would sleep.
  int run(int most = 100) {
    int turns = 0;
    do {
      turns++;
      if (!acceptor->turn()) return turns;
    } while (!poller.slept && turns < most);
    EXPECT_TRUE(poller.slept) << "the loop spins";
    return turns;
  }

  // Configures what a processor was given; how many connections it has then.
  uint64_t runProcessor(size_t index) {
    Loop& loop = *loops[index];
    do {
      loop.processor->turn();
    } while (!loop.poller.slept);
    return loop.processor->counters().connections.value();
  }

  std::vector<FakeConnection*> connect(int count) {
    std::vector<FakeConnection*> clients;
    for (int i = 0; i < count; i++) clients.push_back(&kernel.connect(listener));
    return clients;
  }

  std::vector<Event> errors() {
    std::vector<Event> found;
    for (Event& event : consumer.takeEvents()) {
      if (event.kind == Event::Kind::kAcceptError) found.push_back(std::move(event));
    }
    return found;
  }

  FakeKernel kernel;
  FakeMemory memory;
  FakeConsumer consumer;
  RequestChannel requests{500, 1000, consumer};
  Handovers handovers;
  MemoryPool memory_pool{kUnlimitedBytes, kernel.clock};
  UnsentBytes unsent{kUnlimitedBytes};
  ConnectionQuotas quotas{{}};
  Framing framing;
  ChannelConfig config{.framing = &framing};
  ListenerEnds ends;
  FakeListener& listener;
  std::vector<std::unique_ptr<Loop>> loops;
  ProcessorList processor_list;
  FakePoller poller;
  std::unique_ptr<Acceptor> acceptor;
};

TEST_F(AcceptorTest, ConnectionsGoRoundRobin) {
  open(3);
  connect(7);
  run();
  EXPECT_EQ(acceptor->counters().accepted.value(), 7u);
  EXPECT_EQ(runProcessor(0), 3u);
  EXPECT_EQ(runProcessor(1), 2u);
  EXPECT_EQ(runProcessor(2), 2u);
  connect(1);
  run();
  EXPECT_EQ(runProcessor(1), 3u);
}

TEST_F(AcceptorTest, TheConnectionKnowsItsEnds) {
  open(1);
  connect(1);
  run();
  runProcessor(0);
  const std::vector<Event> events = consumer.takeEvents();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kOpened);
  EXPECT_EQ(events[0].local.port, 9092);
  EXPECT_EQ(events[0].remote.host, "127.0.0.1");
  EXPECT_GE(events[0].remote.port, 10'000);
}

TEST_F(AcceptorTest, WhatWaitedBeforeItOpenedIsAccepted) {
  connect(2);
  open(1);
  run();
  EXPECT_EQ(runProcessor(0), 2u);
}

TEST_F(AcceptorTest, OneTurnAcceptsABoundedNumber) {
  open(4);
  connect(kAcceptsPerTurn + 6);
  ASSERT_TRUE(acceptor->turn());
  EXPECT_EQ(acceptor->counters().accepted.value(), static_cast<uint64_t>(kAcceptsPerTurn));
  ASSERT_TRUE(acceptor->turn());
  EXPECT_EQ(poller.last_timeout_ns, 0) << "more may be waiting, which no event will say";
  EXPECT_EQ(acceptor->counters().accepted.value(), kAcceptsPerTurn + 6u);
  run();
  EXPECT_EQ(listener.waiting(), 0u);
}

TEST_F(AcceptorTest, AnIdleAcceptorSleepsWithoutEnd) {
  open(1);
  run();
  EXPECT_EQ(poller.last_timeout_ns, -1);
  const uint64_t accepts = listener.accepts;
  run();
  EXPECT_EQ(listener.accepts, accepts) << "nothing came, so nothing is tried";
}

TEST_F(AcceptorTest, ClientsThatGaveUpAreSkipped) {
  open(1);
  run();
  listener.failAccepts({ECONNABORTED, EINTR, EPROTO, EPERM});
  connect(1);
  run();
  EXPECT_EQ(runProcessor(0), 1u);
  EXPECT_EQ(acceptor->counters().errors.value(), 3u);
  EXPECT_EQ(errors().size(), 0u);
}

// accept(2): Linux passes network errors that are pending on the new socket.
TEST_F(AcceptorTest, NetworkErrorsOfOneClientAreSkipped) {
  open(1);
  run();
  listener.failAccepts(
      {ENETDOWN, ENOPROTOOPT, EHOSTDOWN, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, ETIMEDOUT});
  connect(1);
  run();
  EXPECT_EQ(runProcessor(0), 1u) << "nobody waits for them";
  EXPECT_EQ(errors().size(), 0u);
}

TEST_F(AcceptorTest, WithoutDescriptorsOneClientIsRefusedAndTheOthersWait) {
  open(1);
  run();
  kernel.limitDescriptors(kernel.descriptors());
  const auto clients = connect(3);
  run();
  std::vector<Event> events = errors();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].error, EMFILE);
  EXPECT_EQ(acceptor->counters().errors.value(), 1u);
  EXPECT_TRUE(clients[0]->sawEnd()) << "told at once, by the spare descriptor";
  EXPECT_EQ(listener.waiting(), 2u);

  // No spinning until the back-off is over, whatever events come.
  EXPECT_EQ(poller.last_timeout_ns, kAcceptBackoffNs);
  const uint64_t accepts = listener.accepts;
  kernel.clock.advance(kAcceptBackoffNs / 2);
  connect(1);
  EXPECT_LE(run(), 2);
  EXPECT_EQ(poller.last_timeout_ns, kAcceptBackoffNs / 2);
  EXPECT_EQ(listener.accepts, accepts);

  kernel.limitDescriptors(SIZE_MAX);
  kernel.clock.advance(kAcceptBackoffNs / 2);
  run();
  EXPECT_EQ(listener.waiting(), 0u);
  EXPECT_EQ(runProcessor(0), 3u);
  EXPECT_EQ(poller.last_timeout_ns, -1);
}

TEST_F(AcceptorTest, TheSpareDescriptorComesBackWhenItCan) {
  open(1);
  run();
  const size_t before = kernel.descriptors();
  kernel.limitDescriptors(before);
  connect(1);
  run();
  // While it was refusing the client, somebody else took the last descriptor.
  EXPECT_EQ(kernel.descriptors(), before);
  kernel.limitDescriptors(1);
  connect(1);
  kernel.clock.advance(kAcceptBackoffNs);
  run();
  EXPECT_EQ(kernel.descriptors(), before - 1) << "the spare is gone";
  kernel.limitDescriptors(SIZE_MAX);
  kernel.clock.advance(kAcceptBackoffNs);
  run();
  EXPECT_EQ(kernel.descriptors(), before + 1) << "the spare and one connection";
  EXPECT_EQ(errors().size(), 2u);
}

TEST_F(AcceptorTest, OtherErrorsBackOffToo) {
  open(1);
  run();
  listener.failAccepts({ENOMEM});
  connect(1);
  run();
  ASSERT_EQ(errors().size(), 1u);
  EXPECT_EQ(listener.waiting(), 1u);
  EXPECT_EQ(poller.last_timeout_ns, kAcceptBackoffNs);
  kernel.clock.advance(kAcceptBackoffNs);
  run();
  EXPECT_EQ(runProcessor(0), 1u);
}

TEST_F(AcceptorTest, FullQueuesHoldOneSocketAndTheAcceptor) {
  open(2);
  const int both = 2 * static_cast<int>(kNewConnectionQueue);
  connect(both + 5);
  run();
  EXPECT_EQ(acceptor->counters().accepted.value(), static_cast<uint64_t>(both));
  EXPECT_EQ(listener.waiting(), 4u) << "one is in hand";
  EXPECT_EQ(poller.last_timeout_ns, -1) << "it waits for room, without end";
  EXPECT_LE(run(), 2);
  EXPECT_EQ(listener.waiting(), 4u);

  // One processor takes its connections; that is all it needs.
  EXPECT_EQ(runProcessor(1), kNewConnectionQueue);
  run();
  EXPECT_EQ(listener.waiting(), 0u);
  EXPECT_EQ(runProcessor(0), kNewConnectionQueue);
  EXPECT_EQ(runProcessor(1), kNewConnectionQueue + 5u);
}

TEST_F(AcceptorTest, RoomWakesASleepingAcceptor) {
  open(1);
  connect(static_cast<int>(kNewConnectionQueue) + 1);
  run();
  // Between its look at the queues and its sleep.
  poller.on_sleep = [&] {
    poller.on_sleep = nullptr;
    runProcessor(0);
    EXPECT_EQ(poller.wakes, 1u);
  };
  ASSERT_TRUE(acceptor->turn());
  run();
  EXPECT_EQ(runProcessor(0), kNewConnectionQueue + 1u);
}

TEST_F(AcceptorTest, ASocketGoesToTheProcessorsThatAreLeft) {
  open(2);
  loops[0]->poller.lose(EBADF);
  EXPECT_FALSE(loops[0]->processor->turn());
  connect(3);
  run();
  EXPECT_EQ(runProcessor(1), 3u);
}

TEST_F(AcceptorTest, WithoutProcessorsClientsAreClosed) {
  open(2);
  for (auto& loop : loops) {
    loop->poller.lose(EBADF);
    EXPECT_FALSE(loop->processor->turn());
  }
  const auto clients = connect(2);
  run();
  for (const FakeConnection* client : clients) EXPECT_TRUE(client->sawEnd());
}

TEST_F(AcceptorTest, AProcessorThatEndsFreesAWaitingAcceptor) {
  open(1);
  const auto clients = connect(static_cast<int>(kNewConnectionQueue) + 2);
  run();
  EXPECT_EQ(listener.waiting(), 1u);
  loops[0]->poller.lose(EBADF);
  EXPECT_FALSE(loops[0]->processor->turn());
  run();
  EXPECT_EQ(listener.waiting(), 0u);
  for (const FakeConnection* client : clients) EXPECT_TRUE(client->sawEnd());
}

TEST_F(AcceptorTest, StopsWithASocketInHand) {
  open(1);
  const auto clients = connect(static_cast<int>(kNewConnectionQueue) + 1);
  run();
  acceptor->stop();
  EXPECT_FALSE(acceptor->turn());
  EXPECT_FALSE(acceptor->turn());
  EXPECT_FALSE(listener.isOpen());
  EXPECT_TRUE(clients.back()->sawEnd());
  EXPECT_EQ(runProcessor(0), kNewConnectionQueue) << "those handed over are served";
}

TEST_F(AcceptorTest, StopWakesItOutOfItsSleep) {
  open(1);
  run();
  poller.on_sleep = [&] {
    acceptor->stop();
    EXPECT_EQ(poller.wakes, 1u);
  };
  EXPECT_FALSE(acceptor->turn());
  poller.on_sleep = nullptr;
  EXPECT_FALSE(listener.isOpen());
}

TEST_F(AcceptorTest, StopEndsABackOff) {
  open(1);
  run();
  listener.failAccepts({ENFILE});
  run();
  acceptor->stop();
  EXPECT_FALSE(acceptor->turn());
}

TEST_F(AcceptorTest, ALostPollerIsFatalAndSaidOnce) {
  open(1);
  run();
  poller.lose(EBADF);
  EXPECT_FALSE(acceptor->turn());
  EXPECT_FALSE(acceptor->turn());
  const std::vector<Event> events = consumer.takeEvents();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Event::Kind::kFatal);
  EXPECT_EQ(events[0].error, EBADF);
  EXPECT_FALSE(listener.isOpen());
}

TEST_F(AcceptorTest, APollerThatCantBeOpenedLeavesNothingOpen) {
  poller.failOpen(EMFILE);
  acceptor = std::make_unique<Acceptor>(0, config, Acceptor::Seams{poller, kernel, kernel.clock},
                                        processor_list, quotas, consumer);
  EXPECT_EQ(acceptor->open(listener.fd()), EMFILE);
  acceptor.reset();
  EXPECT_EQ(kernel.descriptors(), 0u);
}

TEST_F(AcceptorTest, AListenerThatCantBeWatchedIsAnError) {
  poller.failAdds({ENOSPC});
  acceptor = std::make_unique<Acceptor>(0, config, Acceptor::Seams{poller, kernel, kernel.clock},
                                        processor_list, quotas, consumer);
  EXPECT_EQ(acceptor->open(listener.fd()), ENOSPC);
}

TEST_F(AcceptorTest, WithoutASpareItStillSurvives) {
  kernel.limitDescriptors(kernel.descriptors());
  open(1);
  connect(1);
  run();
  EXPECT_EQ(listener.waiting(), 1u) << "no spare to refuse it with";
  kernel.limitDescriptors(SIZE_MAX);
  kernel.clock.advance(kAcceptBackoffNs);
  run();
  EXPECT_EQ(runProcessor(0), 1u);
}

// --- Quotas ------------------------------------------------------------------------------------

class AcceptorQuotas : public AcceptorTest {
 protected:
  // A client from this address.
  FakeConnection& from(const IpAddress& ip) {
    FakeConnection& client = kernel.connect(listener);
    client.ip = ip;
    return client;
  }

  const IpAddress one = IpAddress::v4(10, 0, 0, 1);
  const IpAddress two = IpAddress::v4(10, 0, 0, 2);
  const IpAddress three = IpAddress::v4(10, 0, 0, 3);

  ConnectionLimits limits;
};

TEST_F(AcceptorQuotas, AConnectionThatFindsNoPlaceWaitsAndNobodyIsAcceptedMeanwhile) {
  limits.max_connections = 2;
  quotas.update(limits);
  open(1);
  const std::vector<FakeConnection*> clients = connect(4);
  run();
  EXPECT_EQ(runProcessor(0), 2u);
  EXPECT_EQ(listener.waiting(), 1u) << "one is in hand, and the last with the kernel";
  kernel.clock.advance(5'000'000'000);
  EXPECT_EQ(acceptor->blockedNs(), 5'000'000'000);
  EXPECT_EQ(acceptor->rateWaits(), 0u) << "it waits for a place";
  EXPECT_EQ(acceptor->rateWaitNs(), 0);
  run();
  EXPECT_EQ(runProcessor(0), 2u);
  clients[0]->close();
  EXPECT_EQ(runProcessor(0), 1u);
  run();
  EXPECT_EQ(runProcessor(0), 2u);
  EXPECT_EQ(acceptor->counters().accepted.value(), 3u);
}

TEST_F(AcceptorQuotas, WhoWaitsIsLetInWhenTheLimitIsRaised) {
  limits.max_connections = 1;
  quotas.update(limits);
  open(1);
  connect(3);
  run();
  EXPECT_EQ(runProcessor(0), 1u);
  limits.max_connections = 3;
  quotas.update(limits);
  run();
  EXPECT_EQ(runProcessor(0), 3u);
}

TEST_F(AcceptorQuotas, StoppedForOverloadNobodyIsLetInUntilItIsOver) {
  open(1);
  const std::vector<FakeConnection*> clients = connect(2);
  run();
  EXPECT_EQ(runProcessor(0), 2u);
  limits.is_stopped = true;
  quotas.update(limits);
  connect(2);
  run();
  EXPECT_EQ(listener.waiting(), 1u) << "one is in hand, and the last with the kernel";
  clients[0]->close();
  runProcessor(0);
  run();
  EXPECT_EQ(runProcessor(0), 1u) << "a place that was given back is for nobody";
  kernel.clock.advance(5'000'000'000);
  EXPECT_EQ(acceptor->blockedNs(), 5'000'000'000);
  limits.is_stopped = false;
  quotas.update(limits);
  run();
  EXPECT_EQ(runProcessor(0), 3u);
}

TEST_F(AcceptorQuotas, WhoWaitsIsLetInWhenTheRateAllowsIt) {
  limits.creation_rate = 2;
  quotas.update(limits);
  open(1);
  connect(4);
  run();
  EXPECT_EQ(runProcessor(0), 2u);
  kernel.clock.advance(500'000'000);
  run();
  EXPECT_EQ(runProcessor(0), 3u);
  EXPECT_EQ(acceptor->rateWaits(), 2u) << "and the next one waits";
  EXPECT_EQ(acceptor->rateWaitNs(), 500'000'000);
  kernel.clock.advance(499'000'000);
  run();
  EXPECT_EQ(runProcessor(0), 3u);
  kernel.clock.advance(1'000'000);
  run();
  EXPECT_EQ(runProcessor(0), 4u);
  EXPECT_EQ(acceptor->rateWaits(), 2u);
  EXPECT_EQ(acceptor->rateWaitNs(), 1'000'000'000);
  EXPECT_EQ(acceptor->blockedNs(), 1'000'000'000);
}

TEST_F(AcceptorQuotas, WhoeverWaitsForAPlaceAndThenForARateWaitsForBoth) {
  limits.max_connections = 1;
  limits.creation_rate = 1;
  quotas.update(limits);
  open(1);
  const std::vector<FakeConnection*> clients = connect(2);
  run();
  EXPECT_EQ(runProcessor(0), 1u);
  kernel.clock.advance(300'000'000);
  clients[0]->close();
  EXPECT_EQ(runProcessor(0), 0u);
  run();
  EXPECT_EQ(runProcessor(0), 0u) << "there is a place, and no other may come this second";
  kernel.clock.advance(700'000'000);
  run();
  EXPECT_EQ(runProcessor(0), 1u);
  EXPECT_EQ(acceptor->blockedNs(), 1'000'000'000);
  EXPECT_EQ(acceptor->rateWaitNs(), 700'000'000);
  EXPECT_EQ(acceptor->rateWaits(), 1u);
}

TEST_F(AcceptorQuotas, AnAddressWithTooManyIsRefusedAtOnce) {
  limits.max_connections_per_ip = 1;
  quotas.update(limits);
  open(1);
  from(one);
  FakeConnection& second = from(one);
  from(two);
  run();
  EXPECT_TRUE(second.sawEnd());
  EXPECT_EQ(runProcessor(0), 2u);
  EXPECT_EQ(acceptor->counters().refused.value(), 1u);
  EXPECT_EQ(acceptor->counters().accepted.value(), 2u);
  EXPECT_EQ(quotas.total(), 2u);
}

TEST_F(AcceptorQuotas, AnAddressThatSendsTooManyIsHeldBackThenClosedEarliestFirst) {
  limits.creation_rate_per_ip = 4;
  quotas.update(limits);
  open(1);
  // Their bursts are used up at different times, the later one's first to end.
  for (int i = 0; i < 4; i++) from(one);
  run();
  kernel.clock.advance(100'000'000);
  for (int i = 0; i < 4; i++) from(two);
  FakeConnection& last = from(two);
  FakeConnection& first = from(one);
  run();
  EXPECT_EQ(acceptor->counters().throttled.value(), 2u);
  EXPECT_EQ(acceptor->counters().parked.value(), 2u);
  EXPECT_EQ(acceptor->counters().parked_ns.value(), 150'000'000u + 250'000'000u);
  EXPECT_FALSE(first.sawEnd());
  kernel.clock.advance(150'000'000);
  run();
  EXPECT_TRUE(first.sawEnd());
  EXPECT_FALSE(last.sawEnd());
  kernel.clock.advance(100'000'000);
  run();
  EXPECT_TRUE(last.sawEnd());
  EXPECT_EQ(acceptor->counters().parked.value(), 0u);
  EXPECT_EQ(runProcessor(0), 8u) << "others were let in meanwhile";
}

TEST_F(AcceptorQuotas, NoMoreAreHeldBackThanThereIsRoomFor) {
  limits.creation_rate_per_ip = 1;
  quotas.update(limits);
  open(1);
  connect(static_cast<int>(kMaxParked) + 11);
  run(1000);
  EXPECT_EQ(acceptor->counters().parked.value(), kMaxParked);
  EXPECT_EQ(acceptor->counters().refused.value(), 10u);
}

TEST_F(AcceptorQuotas, WhoIsHeldBackOrWaitsIsClosedAtTheEnd) {
  limits.creation_rate_per_ip = 1;
  limits.max_connections = 2;
  quotas.update(limits);
  open(1);
  from(one);
  FakeConnection& held_back = from(one);
  from(two);
  FakeConnection& waiting = from(three);
  run();
  EXPECT_FALSE(held_back.sawEnd());
  acceptor->stop();
  while (acceptor->turn()) {
  }
  EXPECT_TRUE(held_back.sawEnd());
  EXPECT_TRUE(waiting.sawEnd());
  EXPECT_EQ(quotas.total(), 2u);
  EXPECT_EQ(acceptor->counters().parked.value(), 0u);
}

TEST_F(AcceptorQuotas, WhoeverIsDroppedOnTheWayGivesThePlaceBack) {
  open(1);
  connect(3);
  run();
  EXPECT_EQ(quotas.total(), 3u) << "they wait in the processor's queue";
  loops[0]->processor->stop(CloseReason::kDeadline);
  while (loops[0]->processor->turn()) {
  }
  EXPECT_EQ(quotas.total(), 0u);
  connect(2);
  run();
  EXPECT_EQ(quotas.total(), 0u) << "nobody is there to take them";
}

TEST_F(AcceptorQuotas, AProtectedListenerTakesThePlacesOfOthers) {
  // The connections of another listener, which is not protected.
  limits.max_connections = 3;
  limits.listeners.resize(2);
  limits.listeners[0].is_protected = true;
  quotas.update(limits);
  open(2);
  for (uint32_t i = 0; i < 3; i++) {
    FakeConnection& client = kernel.connected();
    NewConnection connection;
    connection.fd = client.fd();
    connection.config = &config;
    const auto verdict = quotas.admit(1, {}, kernel.clock.now(), *acceptor);
    connection.admission = verdict.admission;
    ASSERT_EQ(loops[1]->processor->offer(connection, *acceptor), Processor::Offer::kTaken);
    kernel.clock.advance(1000);
    EXPECT_EQ(runProcessor(1), i + 1);
  }
  connect(1);
  run();
  EXPECT_EQ(quotas.ofListener(0), 1u);
  EXPECT_EQ(runProcessor(0), 1u);
  // An orderly end: the client has not closed its side yet.
  runProcessor(1);
  EXPECT_EQ(loops[1]->processor->counters().evicted.value(), 1u);
  kernel.clock.advance(kLingerNs);
  EXPECT_EQ(runProcessor(1), 2u);
  EXPECT_EQ(quotas.total(), 3u);
}

}  // namespace
}  // namespace odradek
