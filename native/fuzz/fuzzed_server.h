// A processor with its clients and its service, as connection_fuzz drives them; every method is a
// step that the fuzzer may choose, legal at any moment (it does nothing where it would not be).
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "../test/processor_bench.h"
#include "client.h"

namespace odradek::fuzz {

struct Answer {
  uint32_t count = 1;   // requests that it settles
  uint32_t filler = 0;  // bytes beside the text that names the request
  uint32_t parts = 1;   // commands that it is made of
  bool is_discarded = false;
  bool is_last = false;     // the connection is closed after it
  bool is_awaited = false;  // an event tells its fate
};

class FuzzedServer {
 public:
  explicit FuzzedServer(const test::BenchOptions& options);

  // --- Clients -----------------------------------------------------------------------------------
  void connect();
  void send(Client& client, std::string_view bytes, bool is_urgent);
  size_t clients() const { return clients_.size(); }
  Client& client(size_t index) { return *clients_[index]; }

  // --- The service -------------------------------------------------------------------------------
  void claim(size_t most);
  void accept(Client& client);
  void answer(Client& client, const Answer& answer);
  void close(Client& client);
  void setFraming(Client& client, const Framing& framing, size_t withdrawn);
  // Commands wait until they are submitted together.
  void submit();

  // --- The reactor -------------------------------------------------------------------------------
  void turn();
  // Turns until the loop would sleep.
  void run();
  void advance(int64_t ns);
  void refuseMemory(int64_t granted);
  void drain();
  void stop();
  void lose(int error);
  test::ProcessorBench& bench() { return bench_; }

  // Everything is answered and taken, time passes: what must have come to rest has.
  void settle();
  // The processor is stopped: every count has come back.
  void finish();

 private:
  void serve();
  void deliver();
  Client* find(const ChannelId& channel);
  void checkCounts();

  const Framing framing_;
  const uint32_t queued_max_requests_;
  const uint32_t max_pending_requests_;
  const bool waits_for_accept_;
  test::ProcessorBench bench_;
  // Those that the processor took, by their ports.
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Command> commands_;
  Client::Server state_;
  uint32_t waiting_offers_ = 0;
  uint64_t turns_ = 0;
  uint64_t sent_bytes_ = 0;
  bool has_ended_ = false;
};

}  // namespace odradek::fuzz
