// One client of the fuzzed connections: its end of a fake connection, and what is known of it: the
// bytes that it sent, the frames that crossed, the replies that were given, and how it ended.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../core/framing.h"
#include "../core/request.h"
#include "../test/fake_kernel.h"
#include "../test/processor_bench.h"

namespace odradek::fuzz {

class Client {
 public:
  // How a connection can end that nobody asked to end: what the server as a whole went through.
  struct Server {
    bool has_drained = false;
    bool has_stopped = false;
    bool was_lost = false;
    bool refused_memory = false;
  };

  Client(test::FakeConnection& connection, const Framing& framing, bool waits_for_accept)
      : connection(connection), framing(framing), waits_for_accept(waits_for_accept) {}

  // --- The client acts ---------------------------------------------------------------------------
  void send(std::string_view bytes, bool is_urgent);
  void end();
  void close();
  void reset();
  // Takes what the server wrote and compares it with the replies.
  void take(size_t most = std::string::npos);

  // --- The server delivers -----------------------------------------------------------------------
  void opened(const ChannelId& channel);
  void claimed(const test::Taken& request);
  void reported(const Event& event);

  // --- The service answers -----------------------------------------------------------------------
  bool isOpen() const { return id.has_value() && !closed.has_value(); }
  // Takes `count` requests off the front, or off the back to be cut once more.
  void answered(size_t count);
  std::string withdraw(size_t count);
  // Every request that was cut has been claimed: the framing may change.
  bool isComplete() const {
    if (waits_for_accept && !was_accepted) return true;
    return !in_work.empty() && in_work.back().is_last;
  }

  // --- What must hold ----------------------------------------------------------------------------
  // Everything has come to rest, and every request was answered.
  void checkAtRest(const Server& server) const;
  // Its end has just been told.
  void checkClosed(const Server& server);
  // The processor has ended.
  void checkEnded() const;

  test::FakeConnection& connection;
  Framing framing;
  const bool waits_for_accept;

  std::string sent;
  // Of `sent`: what the frames that crossed are made of.
  size_t framed_bytes = 0;
  std::string replies;
  size_t seen = 0;

  std::optional<ChannelId> id;
  std::optional<Event> closed;
  bool was_accepted = false;
  bool was_reset_reported = false;
  // Claimed and not answered, oldest first.
  std::deque<test::Taken> in_work;
  uint32_t next_sequence = 0;
  uint64_t settled = 0;
  uint64_t discarded = 0;
  uint64_t withdrawn = 0;
  // Replies whose fate is to be told, by sequence.
  std::vector<uint32_t> awaited;

  bool has_ended = false;
  bool is_gone = false;                // closed or reset by the client
  bool has_broken_socket = false;      // a system call was scripted to fail for good
  bool close_asked = false;            // after what was given before
  bool reply_and_close_asked = false;  // after the reply

 private:
  bool isWhole() const;
  bool isJustified(const Event& event, const Server& server) const;
  Cut nextCut() const;
};

}  // namespace odradek::fuzz
