// The seeded simulation:
//
//   odradek_sim --seeds N [--first N]   seeds first, first + 1, ... (first: 1)
//   odradek_sim --minutes N [--first N] the same, for a time
//   odradek_sim --seed N                one seed, with every step
//
// Ends with 1 and the seed's last steps when a check fails.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "world.h"

namespace odradek::sim {
namespace {

struct Arguments {
  uint64_t first = 1;
  uint64_t seeds = 0;
  double minutes = 0;
  bool is_single = false;
};

[[noreturn]] void usage() {
  std::fprintf(stderr,
               "usage: odradek_sim --seed N | --seeds N [--first N] | --minutes N [--first N]\n");
  std::exit(2);
}

Arguments parse(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; i += 2) {
    char* end = nullptr;
    const double number = i + 1 < count ? std::strtod(values[i + 1], &end) : -1;
    if (end == nullptr || *end != 0 || number < 0) usage();
    const auto whole = static_cast<uint64_t>(number);
    if (std::strcmp(values[i], "--seed") == 0) {
      arguments.is_single = true;
      arguments.first = whole;
      arguments.seeds = 1;
    } else if (std::strcmp(values[i], "--seeds") == 0) {
      arguments.seeds = whole;
    } else if (std::strcmp(values[i], "--first") == 0) {
      arguments.first = whole;
    } else if (std::strcmp(values[i], "--minutes") == 0) {
      arguments.minutes = number;
    } else {
      usage();
    }
  }
  if (arguments.seeds == 0 && arguments.minutes == 0) usage();
  return arguments;
}

void print(const Tally& tally, double seconds) {
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%llu seeds in %.0f s: %llu events (at least %llu a seed), %llu connections (at least "
      "%llu a seed), %llu requests, %llu replies\n",
      number(tally.seeds), seconds, number(tally.events), number(tally.fewest_events),
      number(tally.connections), number(tally.fewest_connections), number(tally.requests),
      number(tally.replies));
  for (size_t i = 0; i < kFaults; i++) {
    std::printf("%12llu  %s\n", number(tally.faults[i]), kFaultNames[i]);
  }
}

// In a long run every kind of fault has to occur; a stray reply is asserted on in debug builds.
bool isComplete(const Tally& tally) {
  constexpr uint64_t kLongRun = 5000;
  if (tally.seeds < kLongRun) return true;
  bool is_complete = true;
  for (size_t i = 0; i < kFaults; i++) {
    if (tally.faults[i] > 0) continue;
    std::printf("never occurred: %s\n", kFaultNames[i]);
    is_complete = false;
  }
  return is_complete;
}

int run(const Arguments& arguments) {
  using Time = std::chrono::steady_clock;
  const auto started = Time::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Time::now() - started).count(); };
  constexpr uint64_t kRepeated = 20;
  Tally tally;
  for (uint64_t i = 0; arguments.seeds == 0 || i < arguments.seeds; i++) {
    if (arguments.minutes > 0 && seconds() > arguments.minutes * 60) break;
    const uint64_t seed = arguments.first + i;
    const uint64_t digest = World(seed, arguments.is_single, tally).run();
    // A seed is worth something only if it always does the same.
    Tally again;
    if (i < kRepeated && World(seed, false, again).run() != digest) {
      std::printf("seed %llu: not-repeatable: its second run differed\n",
                  static_cast<unsigned long long>(seed));
      return 1;
    }
  }
  print(tally, seconds());
  return isComplete(tally) ? 0 : 1;
}

}  // namespace
}  // namespace odradek::sim

int main(int count, char** values) { return odradek::sim::run(odradek::sim::parse(count, values)); }
