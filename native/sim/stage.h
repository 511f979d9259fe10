// What all players of a simulation share.
#pragma once

#include "../test/fake_kernel.h"
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

  // Whether this goes wrong now, by the plan; counted if so.
  bool strikes(Fault fault) {
    if (!has_faults || !random.chance(plan.rate(fault))) return false;
    tally.count(fault);
    return true;
  }
};

}  // namespace odradek::sim
