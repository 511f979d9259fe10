// Connections that stay and carry requests: in a closed loop, or at a fixed rate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "connection.h"
#include "options.h"
#include "report.h"
#include "request.h"
#include "schedule.h"

namespace odradek::bench {

class SteadyLoad {
 public:
  SteadyLoad(const Options& options, const Request& request);

  // Warms up, measures, prints.
  void run();

 private:
  void open();
  void start();
  void runUntil(int64_t end_ns);
  void turn();
  void sendDue();
  void receive(size_t index);
  // Puts requests on a connection that may take some: in a closed loop when all are answered.
  void refill(size_t index, int64_t now_ns);
  void queue(Connection& connection, int64_t started_ns);
  void countUnanswered(int64_t now_ns);

  const Options& options_;
  int poll_;
  int timer_ = -1;
  std::vector<Connection> connections_;
  std::vector<char> scratch_;
  std::optional<Schedule> schedule_;
  uint32_t next_number_ = 1;
  Report report_;
};

}  // namespace odradek::bench
