// Whole connections over the simulated kernel: the fuzzer's bytes choose a server's settings, then
// what clients, service, system and time do, step by step. Whatever they do, the contract holds:
// see Client and FuzzedServer for what is checked.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "fuzzed_server.h"
#include "input.h"

namespace odradek::fuzz {
namespace {

// Bytes that a run may send beside those of its input, in one frame or in many: enough for one that
// outgrows a slab, and few enough for some thousand runs a second.
constexpr size_t kMostFiller = 80'000;
// More than a connection may write in one turn.
constexpr uint32_t kLongAnswer = kWriteBytesPerTurn + 1000;

test::BenchOptions optionsOf(Input& input) {
  test::BenchOptions options;
  options.framing = framing(input);
  const uint32_t bits = input.number(1);
  options.waits_for_accept = (bits & 1) != 0;
  options.queued_max_requests = 1 + ((bits & 2) != 0 ? 500 : input.number(1) % 8);
  options.max_pending_requests = 1 + ((bits & 4) != 0 ? 500 : input.number(1) % 8);
  return options;
}

class Script {
 public:
  Script(Input input, FuzzedServer& server) : input_(input), server_(server) {}

  void run() {
    while (!input_.empty()) step();
    server_.finish();
  }

 private:
  void step() {
    const uint32_t choice = input_.number(1) % 32;
    if (choice < 4) return server_.run();
    if (choice == 4) return server_.turn();
    if (choice == 5) return server_.connect();
    if (choice == 6) return server_.claim(input_.number(1));
    if (choice == 7) return server_.submit();
    if (choice == 8) return system();
    if (server_.clients() == 0) return server_.connect();
    Client& client = server_.client(input_.number(1) % server_.clients());
    if (choice < 16) return send(client, choice);
    if (choice < 24) return serve(client, choice);
    network(client, choice);
  }

  // What befalls the server as a whole.
  void system() {
    constexpr int kTurnNs = 300'000'000;
    switch (input_.number(1) % 16) {
      case 0:
        return server_.drain();
      case 1:
        return server_.stop();
      case 2:
        return server_.lose(EBADF);
      case 3:
        return server_.bench().poller.failAdds({ENOMEM});
      case 4:
      case 5:
      case 6:
      case 7:
        return server_.refuseMemory(input_.number(1) % 8);
      case 8:
      case 9:
      case 10:
        return server_.bench().memory.allow();
      case 11:
        return server_.bench().poller.inject(
            {.token = input_.number(1) % 4, .readable = true, .writable = true});
      default:
        return server_.advance(int64_t{input_.number(1) % 8} * kTurnNs);
    }
  }

  void send(Client& client, uint32_t choice) {
    switch (choice) {
      case 9:
        return server_.send(client, input_.take(1 + input_.number(1) % 64), false);
      case 10:
        return server_.send(client, input_.take(1 + input_.number(1) % 64), true);
      case 11:
        return server_.send(client, large(client), false);
      default:
        for (uint32_t left = 1 + input_.number(1) % 4; left > 0; left--) {
          server_.send(client, frame(client.framing, input_.take(input_.number(1) % 32)), false);
        }
    }
  }

  std::string large(const Client& client) {
    const size_t wanted = input_.number(1) * (input_.number(1) % 16 == 15 ? 1024 : 32);
    const size_t bytes = std::min(wanted, kMostFiller - filler_);
    filler_ += bytes;
    return frame(client.framing, std::string(bytes, static_cast<char>(input_.number(1))));
  }

  // The payload as a frame, as far as the framing can say it.
  static std::string frame(const Framing& framing, std::string_view payload) {
    std::string bytes;
    switch (framing.kind) {
      case Framing::Kind::kLengthPrefixed: {
        bytes.assign(framing.offset, 'x');
        const uint64_t size = payload.size() - static_cast<uint64_t>(int64_t{framing.adjustment});
        for (int i = 0; i < framing.size_bytes; i++) {
          const int place = framing.big_endian ? framing.size_bytes - 1 - i : i;
          bytes += static_cast<char>(size >> (8 * place));
        }
        return bytes.append(payload);
      }
      case Framing::Kind::kVarintPrefixed: {
        size_t size = payload.size();
        for (; size > 0x7f; size >>= 7) bytes += static_cast<char>(0x80 | (size & 0x7f));
        bytes += static_cast<char>(size);
        return bytes.append(payload);
      }
      case Framing::Kind::kDelimited: {
        bytes.append(payload);
        const auto* delimiter = reinterpret_cast<const char*>(framing.delimiter.data());
        return bytes.append(delimiter, framing.delimiter_bytes);
      }
      default:
        return std::string(payload);
    }
  }

  // What the service does about a client.
  void serve(Client& client, uint32_t choice) {
    switch (choice) {
      case 16:
        return server_.close(client);
      case 17:
        return server_.accept(client);
      case 18:
        return server_.setFraming(client, framing(input_), input_.number(1) % 8);
      default:
        break;
    }
    const uint32_t bits = input_.number(1);
    Answer answer;
    answer.count = 1 + input_.number(1) % 8;
    answer.is_discarded = bits % 8 == 0;
    answer.is_last = bits % 16 == 1;
    answer.parts = answer.is_discarded || bits % 4 != 2 ? 1 : 3;
    answer.filler = bits % 8 == 3 ? input_.number(1) * 128 : bits / 8;
    if (bits == 0xff && input_.number(1) == 0xff) answer.filler = kLongAnswer;
    answer.is_awaited = choice == 19;
    server_.answer(client, answer);
    if (choice < 22) server_.submit();
  }

  // What the client's end and the network between do.
  void network(Client& client, uint32_t choice) {
    constexpr int kHarmless[] = {EAGAIN, EINTR};
    constexpr int kFatal[] = {ECONNRESET, ETIMEDOUT, EPIPE, EIO};
    const uint32_t detail = input_.number(1);
    switch (choice) {
      case 24:
        return client.end();
      case 25:
        return detail % 2 == 0 ? client.close() : client.reset();
      case 26:
        return client.take(detail % 4 == 0 ? std::string::npos : detail);
      case 27:
        return client.connection.setWindow(detail % 4 == 0 ? size_t{detail} * 1024 : detail / 4);
      case 28:
        client.connection.cutWrite(1 + detail);
        return;
      case 29:
        return client.connection.reportSpuriously();
      case 30:
        if (detail % 2 == 0) return client.connection.failReads({kHarmless[detail / 2 % 2]});
        return client.connection.failWrites({kHarmless[detail / 2 % 2]});
      default:
        client.has_broken_socket = true;
        if (detail % 3 == 0) return client.connection.failShutdown(ENOTCONN);
        if (detail % 3 == 1) return client.connection.failReads({kFatal[detail / 3 % 4]});
        return client.connection.failWrites({kFatal[detail / 3 % 4]});
    }
  }

  Input input_;
  FuzzedServer& server_;
  size_t filler_ = 0;
};

// The benches of the tests check by GoogleTest; here a failed check is a finding.
class AbortOnFailure final : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "%s:%d: %s\n", result.file_name(), result.line_number(), result.message());
    std::abort();
  }
};

}  // namespace
}  // namespace odradek::fuzz

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  testing::InitGoogleTest(count, *arguments);
  // Its default printer would print every failure once more; the listeners own themselves.
  testing::UnitTest::GetInstance()->listeners().Append(new odradek::fuzz::AbortOnFailure());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  odradek::fuzz::Input input(data, size);
  odradek::fuzz::FuzzedServer server(odradek::fuzz::optionsOf(input));
  odradek::fuzz::Script(input, server).run();
  return 0;
}
