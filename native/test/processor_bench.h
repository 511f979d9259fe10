// One processor, or several, over the fake kernel, stepped by the test, which also plays the
// request handlers. At its end everything must be back: descriptors, memory, permits, counts.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../core/processor.h"
#include "../core/request_channel.h"
#include "../core/request_handler.h"
#include "fake_consumer.h"
#include "fake_kernel.h"
#include "fake_memory.h"
#include "free_permits.h"

namespace odradek::test {

// A request that a handler has claimed, copied out of the core's memory.
struct Taken {
  ChannelId channel;
  uint32_t sequence = 0;
  std::string frame;
  std::string body;
  bool is_last = false;
  int64_t received_at_ns = 0;
};

// A 4-byte big-endian size and the payload: the default framing.
std::string framed(std::string_view payload);
std::string framedAll(const std::vector<std::string>& payloads);

// One reference to a block with these bytes.
Block* blockOf(Memory& memory, std::string_view bytes);

struct BenchOptions {
  Framing framing = {};
  uint32_t queued_max_requests = 500;
  uint32_t max_pending_requests = 65536;
  int64_t queued_max_request_bytes = kUnlimitedBytes;
  int64_t max_unsent_bytes = kUnlimitedBytes;
  bool waits_for_accept = false;
  ProcessorOptions processor = {};
  uint16_t max_in_flight = 1;
  // Requests are for threads of a pool: test::PoolThread.
  bool has_pool = false;
  bool has_affinity = false;
  uint32_t processors = 1;
};

class ProcessorBench final : public RoomListener, public CommandSink {
 public:
  // The remote port of the first connection that was taken; the next have those after it.
  static constexpr uint16_t kFirstClientPort = 40'000;

  explicit ProcessorBench(BenchOptions options = {});
  ~ProcessorBench();

  // A client's connection, configured by a run of the processor.
  FakeConnection& connect(uint32_t id = 0);
  // The same, as it waits in the processor's queue.
  FakeConnection& offer(Processor::Offer expected = Processor::Offer::kTaken, uint32_t id = 0);

  // Turns until the loop would sleep; how many. Fails the test if that takes more than `most`.
  int run(int most = 1000) { return runOne(0, most); }
  int runOne(uint32_t id, int most = 1000);
  // The processor with this id; `processor` is the first.
  Processor& at(uint32_t id) { return id == 0 ? *processor : *others[id - 1]->processor; }
  FakePoller& pollerOf(uint32_t id) { return id == 0 ? poller : others[id - 1]->poller; }
  bool turn() { return processor->turn(); }
  // So many milliseconds later, with the turns at which the loop has said that it will wake.
  void pass(int64_t ms);

  // What a handler thread does.
  std::vector<Taken> claim(size_t most = 512);
  std::vector<std::string> claimBodies(size_t most = 512);
  // Claims exactly one request.
  Taken claimOne();
  // Hands commands to their processors, in one batch each, and settles what they settle.
  void submit(std::vector<Command> commands);
  Command replyCommand(const Taken& request, std::string_view bytes, uint32_t settles = 1);
  static Command close(const ChannelId& channel, CloseReason reason);
  void reply(const Taken& request, std::string_view bytes, uint32_t settles = 1);
  // Answers every request by its own body, framed.
  void echo(const std::vector<Taken>& requests);

  // Events since the last call, without kOpened.
  std::vector<Event> takeEvents();
  // The one event that there is, of this kind.
  Event takeEvent(Event::Kind kind);
  ChannelId lastOpened() const { return last_opened_; }
  // Connection closed, this way; also checks that the core has let go of the descriptor.
  void expectClosed(FakeConnection& connection, CloseReason reason, uint32_t unanswered = 0);
  // The client sees the end, ends its side too, and that was it.
  void expectOrderlyEnd(FakeConnection& connection, CloseReason reason, uint32_t unanswered = 0);

  void roomForConnections() override { room_calls++; }

  // As threads of a pool know the processor.
  void submit(uint32_t, CommandBatch* batch) override { processor->submit(batch); }
  std::optional<ConnectionInfo> describe(const ChannelId& channel) override {
    return processor->describe(channel);
  }

  FakeKernel kernel;
  FakeMemory memory;
  FakeMemory reply_memory;
  FakeConsumer consumer;
  FakePoller poller{kernel};
  RequestChannel requests;
  Handovers handovers;
  MemoryPool memory_pool;
  UnsentBytes unsent;
  ConnectionQuotas quotas{{}};
  ListenerEnds ends;
  std::unique_ptr<Processor> processor;
  struct Other {
    explicit Other(FakeKernel& kernel) : poller(kernel) {}
    FakePoller poller;
    std::unique_ptr<Processor> processor;
  };
  std::vector<std::unique_ptr<Other>> others;
  std::vector<Framing> framings;
  ChannelConfig config;
  int room_calls = 0;
  // By which listener's quotas the next connection counts.
  uint16_t next_listener = 0;

 private:
  std::unique_ptr<Processor> makeProcessor(uint32_t id, const BenchOptions& options,
                                           FakePoller& poller);

  const uint32_t queued_max_requests_;
  ChannelId last_opened_;
  uint64_t offered_ = 0;
  std::vector<Event> events_;
};

}  // namespace odradek::test
