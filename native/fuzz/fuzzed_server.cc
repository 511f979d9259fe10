#include "fuzzed_server.h"

#include <algorithm>
#include <string>
#include <utility>

#include "input.h"

namespace odradek::fuzz {
namespace {

constexpr size_t kMostClients = 24;
// Frames whose replies the service keeps: enough for every bound, and an end for a run.
constexpr size_t kMostReplyBytes = 4 * 1024 * 1024;
// No input keeps the loop turning: a turn moves a byte on, or belongs to a step of the fuzzer.
constexpr uint64_t kSpareTurns = 20'000;
constexpr uint64_t kTurnsPerByte = 4;
constexpr size_t kWideWindow = 1 << 20;
constexpr int64_t kPastLingerNs = 2 * kLingerNs;

std::string textOf(const test::Taken& request, size_t filler) {
  std::string text = std::to_string(request.channel.slot) + "/" + std::to_string(request.sequence);
  text.append(filler, static_cast<char>('a' + request.sequence % 26));
  return text;
}

}  // namespace

FuzzedServer::FuzzedServer(const test::BenchOptions& options)
    : framing_(options.framing),
      queued_max_requests_(options.queued_max_requests),
      max_pending_requests_(options.max_pending_requests),
      waits_for_accept_(options.waits_for_accept),
      bench_(options) {}

// --- Clients -------------------------------------------------------------------------------------

void FuzzedServer::connect() {
  if (clients_.size() == kMostClients) return;
  Processor::Offer expected = Processor::Offer::kTaken;
  if (waiting_offers_ == kNewConnectionQueue) expected = Processor::Offer::kFull;
  if (has_ended_) expected = Processor::Offer::kGone;
  test::FakeConnection& connection = bench_.offer(expected);
  if (expected != Processor::Offer::kTaken) return;
  waiting_offers_++;
  clients_.push_back(std::make_unique<Client>(connection, framing_, waits_for_accept_));
}

void FuzzedServer::send(Client& client, std::string_view bytes, bool is_urgent) {
  sent_bytes_ += bytes.size();
  client.send(bytes, is_urgent);
}

Client* FuzzedServer::find(const ChannelId& channel) {
  for (auto& client : clients_) {
    if (client->id == channel) return client.get();
  }
  return nullptr;
}

// --- The service ---------------------------------------------------------------------------------

// Requests before events, as the addon has it: what crossed before a connection's end is handled.
void FuzzedServer::claim(size_t most) {
  deliver();
  for (const test::Taken& request : bench_.claim(most)) {
    Client* client = find(request.channel);
    FUZZ_CHECK(client != nullptr);
    if (!has_ended_) client->claimed(request);
  }
}

void FuzzedServer::accept(Client& client) {
  if (!client.isOpen() || !client.waits_for_accept || client.was_accepted) return;
  client.was_accepted = true;
  Command command;
  command.kind = Command::Kind::kAccept;
  command.channel = *client.id;
  commands_.push_back(command);
}

void FuzzedServer::answer(Client& client, const Answer& answer) {
  if (client.in_work.empty() || has_ended_) return;
  const size_t count = std::min<size_t>(answer.count, client.in_work.size());
  const size_t filler = client.replies.size() > kMostReplyBytes ? 0 : answer.filler;
  const test::Taken request = client.in_work.front();
  for (uint32_t part = 0; part < answer.parts; part++) {
    const bool is_end = part + 1 == answer.parts;
    const std::string text = answer.is_discarded ? std::string() : textOf(request, filler);
    client.replies += text;
    Command command = bench_.replyCommand(request, text, is_end ? static_cast<uint32_t>(count) : 0);
    command.discarded = answer.is_discarded;
    if (is_end && answer.is_last) command.reason = CloseReason::kClosedByHandler;
    command.notify = is_end && answer.is_awaited;
    if (command.notify) client.awaited.push_back(request.sequence);
    commands_.push_back(command);
  }
  client.answered(count);
  if (answer.is_discarded) client.discarded += count;
  client.reply_and_close_asked |= answer.is_last;
}

void FuzzedServer::close(Client& client) {
  if (!client.isOpen()) return;
  client.close_asked = true;
  commands_.push_back(test::ProcessorBench::close(*client.id, CloseReason::kClosedByService));
}

// The last `withdrawn` requests are cut once more, by the new framing.
void FuzzedServer::setFraming(Client& client, const Framing& framing, size_t withdrawn) {
  if (!client.isOpen() || !client.isComplete() || has_ended_) return;
  withdrawn = std::min(withdrawn, client.in_work.size());
  const std::string bytes = client.withdraw(withdrawn);
  client.framing = framing;
  Command command;
  command.kind = Command::Kind::kSetFraming;
  command.channel = *client.id;
  command.framing = framing;
  command.sequence = client.next_sequence;
  command.settles = static_cast<uint32_t>(withdrawn);
  command.length = static_cast<uint32_t>(bytes.size());
  if (!bytes.empty()) command.block = test::blockOf(bench_.reply_memory, bytes);
  commands_.push_back(command);
}

void FuzzedServer::submit() {
  if (!commands_.empty()) bench_.submit(std::exchange(commands_, {}));
}

// --- The reactor ---------------------------------------------------------------------------------

void FuzzedServer::turn() {
  if (has_ended_) return;
  waiting_offers_ = 0;
  has_ended_ = !bench_.turn();
  FUZZ_CHECK(has_ended_ == (state_.has_stopped || state_.was_lost));
  FUZZ_CHECK(turns_++ < kSpareTurns + sent_bytes_ * kTurnsPerByte);
  checkCounts();
}

void FuzzedServer::run() {
  do {
    turn();
  } while (!has_ended_ && !bench_.poller.slept);
}

void FuzzedServer::advance(int64_t ns) { bench_.kernel.clock.advance(ns); }

void FuzzedServer::refuseMemory(int64_t granted) { bench_.memory.refuseAfter(granted); }

void FuzzedServer::drain() {
  state_.has_drained = true;
  bench_.processor->drain();
}

void FuzzedServer::stop() {
  state_.has_stopped = true;
  bench_.processor->stop(CloseReason::kDeadline);
}

void FuzzedServer::lose(int error) {
  state_.was_lost = true;
  bench_.poller.lose(error);
}

void FuzzedServer::deliver() {
  state_.refused_memory = bench_.memory.refusals > 0;
  for (const Event& event : bench_.consumer.takeEvents()) {
    if (event.kind == Event::Kind::kFatal) {
      FUZZ_CHECK(state_.was_lost);
      continue;
    }
    if (event.kind == Event::Kind::kOpened) {
      const size_t index = event.remote.port - test::ProcessorBench::kFirstClientPort;
      FUZZ_CHECK(index < clients_.size());
      clients_[index]->opened(event.channel);
      continue;
    }
    Client* client = find(event.channel);
    FUZZ_CHECK(client != nullptr);
    client->reported(event);
    if (event.kind == Event::Kind::kClosed) client->checkClosed(state_);
  }
}

void FuzzedServer::checkCounts() {
  FUZZ_CHECK(bench_.requests.queued() <= queued_max_requests_);
  FUZZ_CHECK(bench_.requests.pending() <= max_pending_requests_);
  FUZZ_CHECK(bench_.kernel.misuses().empty());
}

// --- The end -------------------------------------------------------------------------------------

// Whoever answers a sleeping loop has to wake it: what goes on here goes on of itself.
void FuzzedServer::settle() {
  bench_.memory.allow();
  for (auto& client : clients_) client->connection.setWindow(kWideWindow);
  bool is_at_rest = false;
  bench_.poller.on_sleep = [&] {
    serve();
    is_at_rest = !bench_.poller.isDue();
  };
  while (!is_at_rest && !has_ended_) turn();
  bench_.poller.on_sleep = nullptr;
}

void FuzzedServer::serve() {
  submit();
  claim(SIZE_MAX);
  for (auto& client : clients_) {
    client->take();
    accept(*client);
    answer(*client, {.count = UINT32_MAX});
  }
  submit();
}

void FuzzedServer::finish() {
  submit();
  settle();
  advance(kPastLingerNs);
  settle();
  if (!has_ended_) {
    for (auto& client : clients_) client->checkAtRest(state_);
    stop();
    run();
  }
  claim(SIZE_MAX);
  uint64_t unanswered = 0;
  uint64_t withdrawn = 0;
  for (auto& client : clients_) {
    client->take();
    client->checkEnded();
    withdrawn += client->withdrawn;
    if (client->closed.has_value()) unanswered += client->closed->count;
  }
  // Every request was answered, or is known to have no answer, or was cut once more.
  const ProcessorCounters& counters = bench_.processor->counters();
  const uint64_t settled = counters.responses.value() + unanswered;
  FUZZ_CHECK(settled <= counters.requests.value());
  FUZZ_CHECK(counters.requests.value() <= settled + withdrawn);
  FUZZ_CHECK(counters.stray_replies.value() == 0);
}

}  // namespace odradek::fuzz
