// What a run did, and how it fails: with the seed, the name of the broken check, and the last
// steps before it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "fault.h"

namespace odradek::sim {

// Counts over all seeds of a run.
struct Tally {
  uint64_t seeds = 0;
  uint64_t events = 0;
  uint64_t fewest_events = UINT64_MAX;
  uint64_t connections = 0;
  uint64_t fewest_connections = UINT64_MAX;
  uint64_t requests = 0;
  uint64_t replies = 0;
  std::array<uint64_t, kFaults> faults{};

  void count(Fault fault) { faults[static_cast<size_t>(fault)]++; }
};

// The steps of one seed.
class Trace {
 public:
  explicit Trace(uint64_t seed, bool is_loud) : seed_(seed), is_loud_(is_loud) {}

  __attribute__((format(printf, 2, 3))) void note(const char* format, ...);

  // Prints all of it and ends the process: a simulation has no way to go on.
  [[noreturn]] __attribute__((format(printf, 3, 4))) void fail(const char* check,
                                                               const char* format, ...);

  // Depends on every step: two runs of a seed that differ anywhere differ here.
  uint64_t digest() const { return digest_; }

 private:
  static constexpr size_t kKept = 300;

  const uint64_t seed_;
  const bool is_loud_;
  uint64_t digest_ = 0xcbf29ce484222325;
  uint64_t lines_ = 0;
  std::vector<std::string> last_;
};

// Ends the process with the trace unless the condition holds.
#define SIM_CHECK(trace, name, condition, ...)           \
  do {                                                   \
    if (!(condition)) (trace).fail((name), __VA_ARGS__); \
  } while (false)

}  // namespace odradek::sim
