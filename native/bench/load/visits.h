// Connections that carry one request each: closed after it, and followed by another one (a storm),
// or held open, idle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "connection.h"
#include "options.h"
#include "report.h"
#include "request.h"

namespace odradek::bench {

class Visits {
 public:
  Visits(const Options& options, const Request& request);

  // Warms up, measures, prints: from the beginning of a connection to the last byte of its reply.
  void storm();

  // Opens all connections, prints how many, and holds them until standard input ends.
  void hold();

 private:
  void begin(size_t slot);
  void turn();
  // The reply is there: what becomes of the connection.
  void finish(size_t slot, const Answer& answer);
  void runUntil(int64_t end_ns);

  const Options& options_;
  int poll_;
  // Connections whose request isn't answered yet, each in its slot.
  std::vector<Connection> slots_;
  std::vector<char> scratch_;
  std::vector<int> held_;
  size_t begun_ = 0;
  Report report_;
};

}  // namespace odradek::bench
