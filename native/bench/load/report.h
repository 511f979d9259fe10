// What is measured between the end of the warm-up and the end, and how it is printed.
#pragma once

#include <cstdint>

#include "connection.h"
#include "histogram.h"
#include "options.h"

namespace odradek::bench {

class Report {
 public:
  explicit Report(const Options& options);

  // Ends the warm-up: forgets what was counted so far.
  void begin(int64_t now_ns);
  // Whether as many requests as asked for were answered in the measured time.
  bool hasEnough() const;

  void add(const Answer& answer, int64_t now_ns);
  // A request without an answer at the end counts with the time that it has waited.
  void addUnanswered(const Answer& answer, int64_t now_ns);

  // Prints the JSON object.
  void print(int64_t now_ns) const;

 private:
  const Options& options_;
  int64_t began_ns_ = 0;
  double cpu_before_ = 0;
  uint64_t requests_ = 0;
  uint64_t unanswered_ = 0;
  Histogram latencies_;
  Histogram marked_latencies_;
};

// {"phase":"measuring"}, if somebody attends.
void announceMeasuring(const Options& options);

}  // namespace odradek::bench
