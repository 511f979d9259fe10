#include "processor_bench.h"

#include <cstring>

namespace odradek::test {

std::string framed(std::string_view payload) {
  const auto size = static_cast<uint32_t>(payload.size());
  std::string frame;
  for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(size >> shift);
  return frame.append(payload);
}

std::string framedAll(const std::vector<std::string>& payloads) {
  std::string all;
  for (const std::string& payload : payloads) all += framed(payload);
  return all;
}

Block* blockOf(Memory& memory, std::string_view bytes) {
  Block* block = Block::make(memory, bytes.size());
  std::memcpy(block->data(), bytes.data(), bytes.size());
  return block;
}

ProcessorBench::ProcessorBench(BenchOptions options)
    : requests(options.queued_max_requests, options.max_pending_requests, consumer,
               options.has_pool
                   ? std::make_unique<HandlerSet>(options.has_affinity, options.max_in_flight)
                   : nullptr),
      memory_pool(options.queued_max_request_bytes, kernel.clock),
      unsent(options.max_unsent_bytes),
      framings{options.framing},
      queued_max_requests_(options.queued_max_requests) {
  framings.reserve(16);  // the processor keeps pointers to them
  config = {framings.data(), options.waits_for_accept, options.max_in_flight};
  processor = makeProcessor(0, options, poller);
  for (uint32_t id = 1; id < options.processors; id++) {
    others.push_back(std::make_unique<Other>(kernel));
    others.back()->processor = makeProcessor(id, options, others.back()->poller);
  }
}

std::unique_ptr<Processor> ProcessorBench::makeProcessor(uint32_t id, const BenchOptions& options,
                                                         FakePoller& its_poller) {
  auto made = std::make_unique<Processor>(
      id, Processor::Seams{its_poller, kernel, kernel.clock, memory}, requests, memory_pool, unsent,
      handovers, quotas, ends, consumer, options.processor);
  EXPECT_EQ(made->open(), 0);
  return made;
}

ProcessorBench::~ProcessorBench() {
  uint64_t closed = 0;
  for (uint32_t id = 0; id <= others.size(); id++) {
    pollerOf(id).on_sleep = nullptr;
    Processor& ending = at(id);
    ending.stop(CloseReason::kDeadline);
    EXPECT_FALSE(ending.turn());
    EXPECT_FALSE(ending.turn());
    EXPECT_EQ(ending.counters().connections.value(), 0u);
    EXPECT_EQ(ending.counters().waiting_for_room.value(), 0u);
    EXPECT_EQ(ending.counters().waiting_for_memory.value(), 0u);
    closed += ending.counters().closed.value();
  }
  EXPECT_EQ(closed, offered_);
  EXPECT_EQ(unsent.total(), 0);
  EXPECT_TRUE(handovers.owners.empty());
  requests.clear();
  EXPECT_EQ(freePermits(requests), queued_max_requests_) << "permits were lost";
  processor.reset();
  others.clear();
  EXPECT_EQ(quotas.total(), 0u);
  EXPECT_EQ(memory_pool.available(), memory_pool.size());
  EXPECT_EQ(kernel.descriptors(), 0u);
  EXPECT_EQ(kernel.misuses(), std::vector<std::string>());
  EXPECT_EQ(memory.live, 0);
  EXPECT_EQ(reply_memory.live, 0);
}

FakeConnection& ProcessorBench::offer(Processor::Offer expected, uint32_t id) {
  FakeConnection& connection = kernel.connected();
  NewConnection accepted;
  accepted.fd = connection.fd();
  accepted.config = &config;
  accepted.local = {"127.0.0.1", 9092};
  accepted.remote = {"127.0.0.1", static_cast<uint16_t>(kFirstClientPort + offered_)};
  const uint16_t listener = std::exchange(next_listener, uint16_t{0});
  accepted.listener = listener;
  accepted.admission = quotas.admit(listener, {}, kernel.clock.now(), *this).admission;
  EXPECT_EQ(at(id).offer(accepted, *this), expected);
  if (expected == Processor::Offer::kTaken) {
    offered_++;
  } else {
    kernel.close(connection.fd());
    quotas.release(accepted.admission);
  }
  return connection;
}

FakeConnection& ProcessorBench::connect(uint32_t id) {
  FakeConnection& connection = offer(Processor::Offer::kTaken, id);
  runOne(id);
  for (const Event& event : takeEvents()) events_.push_back(event);
  return connection;
}

int ProcessorBench::runOne(uint32_t id, int most) {
  int turns = 0;
  do {
    turns++;
    if (!at(id).turn()) return turns;
  } while (!pollerOf(id).slept && turns < most);
  EXPECT_TRUE(pollerOf(id).slept) << "the loop spins";
  return turns;
}

void ProcessorBench::pass(int64_t ms) {
  const int64_t end_ns = kernel.clock.now() + ms * 1'000'000;
  while (kernel.clock.now() < end_ns) {
    const int64_t timeout_ns = poller.last_timeout_ns;
    const int64_t left_ns = end_ns - kernel.clock.now();
    const bool wakes = timeout_ns >= 0 && timeout_ns < left_ns;
    ASSERT_NE(timeout_ns, 0) << "the loop doesn't rest";
    kernel.clock.advance(wakes ? timeout_ns : left_ns);
    run();
  }
}

std::vector<Taken> ProcessorBench::claim(size_t most) {
  std::vector<Request> claimed;
  requests.claim(claimed, most);
  std::vector<Taken> taken;
  for (const Request& request : claimed) {
    const auto* frame = reinterpret_cast<const char*>(request.block->data() + request.offset);
    taken.push_back({
        .channel = request.channel,
        .sequence = request.sequence,
        .frame = std::string(frame, request.frame_bytes),
        .body = std::string(frame + request.body_begin, request.body_end - request.body_begin),
        .is_last = request.is_last,
        .received_at_ns = request.received_at_ns,
    });
    request.block->release();
  }
  return taken;
}

std::vector<std::string> ProcessorBench::claimBodies(size_t most) {
  std::vector<std::string> bodies;
  for (const Taken& request : claim(most)) bodies.push_back(request.body);
  return bodies;
}

Taken ProcessorBench::claimOne() {
  const std::vector<Taken> taken = claim();
  EXPECT_EQ(taken.size(), 1u);
  return taken.empty() ? Taken() : taken[0];
}

void ProcessorBench::submit(std::vector<Command> commands) {
  uint32_t settled = 0;
  std::vector<CommandBatch*> batches(1 + others.size(), nullptr);
  for (Command& command : commands) {
    settled += command.settles;
    CommandBatch*& batch = batches[command.channel.processor];
    if (batch == nullptr) batch = new CommandBatch();
    batch->commands.push_back(std::move(command));
  }
  for (uint32_t id = 0; id < batches.size(); id++) {
    if (batches[id] != nullptr) at(id).submit(batches[id]);
  }
  requests.release(static_cast<int32_t>(settled));
}

Command ProcessorBench::replyCommand(const Taken& request, std::string_view bytes,
                                     uint32_t settles) {
  Command command;
  command.channel = request.channel;
  command.sequence = request.sequence;
  command.settles = settles;
  if (!bytes.empty()) command.block = blockOf(reply_memory, bytes);
  command.length = static_cast<uint32_t>(bytes.size());
  return command;
}

Command ProcessorBench::close(const ChannelId& channel, CloseReason reason) {
  Command command;
  command.kind = Command::Kind::kClose;
  command.channel = channel;
  command.reason = reason;
  return command;
}

void ProcessorBench::reply(const Taken& request, std::string_view bytes, uint32_t settles) {
  submit({replyCommand(request, bytes, settles)});
}

void ProcessorBench::echo(const std::vector<Taken>& taken) {
  std::vector<Command> commands;
  for (const Taken& request : taken)
    commands.push_back(replyCommand(request, framed(request.body)));
  submit(std::move(commands));
}

std::vector<Event> ProcessorBench::takeEvents() {
  std::vector<Event> taken = std::exchange(events_, {});
  for (Event& event : consumer.takeEvents()) {
    if (event.kind == Event::Kind::kOpened) {
      last_opened_ = event.channel;
    } else {
      taken.push_back(std::move(event));
    }
  }
  return taken;
}

Event ProcessorBench::takeEvent(Event::Kind kind) {
  const std::vector<Event> taken = takeEvents();
  EXPECT_EQ(taken.size(), 1u);
  if (taken.empty()) return {};
  EXPECT_EQ(taken[0].kind, kind);
  return taken[0];
}

void ProcessorBench::expectClosed(FakeConnection& connection, CloseReason reason,
                                  uint32_t unanswered) {
  EXPECT_FALSE(connection.isOpen());
  const Event event = takeEvent(Event::Kind::kClosed);
  EXPECT_EQ(event.reason, reason);
  EXPECT_EQ(event.count, unanswered);
}

void ProcessorBench::expectOrderlyEnd(FakeConnection& connection, CloseReason reason,
                                      uint32_t unanswered) {
  EXPECT_TRUE(connection.sawEnd());
  connection.end();
  run();
  expectClosed(connection, reason, unanswered);
}

}  // namespace odradek::test
