// What all players of a simulation share.
#pragma once

#include <functional>

#include "../test/fake_kernel.h"
#include "../test/fiber.h"
#include "plan.h"
#include "random.h"
#include "report.h"

namespace odradek::sim {

struct Stage {
  Random& random;
  const Plan& plan;
  Trace& trace;
  Tally& tally;
  test::FakeKernel& kernel;
  // Off once everybody only finishes what is under way.
  bool has_faults = true;
  bool was_memory_refused = false;
  // Requests that would be begun are refused: the last step under overload.
  bool refuses = false;
  // A descriptor can't be watched.
  std::function<void(int fd)> add_refused = {};

  // The loop that runs; null while clients, handlers or the seed itself act.
  test::Fiber* running = nullptr;

  // As the plan has it for a system call: others run first.
  void mayGiveWay() {
    if (random.chance(plan.preemptions)) giveWay();
  }

  // Lets others run first, if a loop runs.
  void giveWay() {
    if (running != nullptr) running->suspend();
  }

  // Whether this goes wrong now, by the plan; counted if so.
  bool strikes(Fault fault) {
    if (!has_faults || !random.chance(plan.rate(fault))) return false;
    tally.count(fault);
    return true;
  }
};

}  // namespace odradek::sim
