// The command line. Flags go by name; `usage` in options.cc says what each means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace odradek::bench {

enum class Mode {
  kLoad,   // all connections stay, and carry requests: closed loop, or at a fixed rate
  kStorm,  // each connection carries one request and is closed; another follows
  kHold,   // each connection carries one request and stays open, idle
};

struct Options {
  Mode mode = Mode::kLoad;
  uint16_t port = 0;
  size_t connections = 64;
  size_t pipeline = 1;
  size_t body_bytes = 128;
  double seconds = 2;
  double warmup_seconds = 0.5;
  size_t requests = 0;      // 0: the measured time ends with the seconds alone
  double rate = 0;          // requests a second over all connections; 0: closed loop
  size_t mark_every = 0;    // 0: no request is marked
  std::string kafka_frame;  // empty: frames of body_bytes that must come back as they went
  size_t reply_bytes = 0;   // 0: replies to Kafka's frames may have any length
  bool spin = false;
  bool is_attended = false;
};

// Exits with the usage if anything is wrong.
Options readOptions(int count, char** arguments);

}  // namespace odradek::bench
