// Every interleaving of submits with a processor that leaves: Processor::submit() and giveAll()
// over the product's own gate and mailbox, and over gates with one planted defect each.
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "../core/gate.h"
#include "../core/mailbox.h"
#include "doorbell_scenarios.h"

namespace odradek {
namespace {

using test::ExploredAtomic;
using test::Explorer;
using test::Item;
using test::kProducers;
using Model = Explorer::Model;

template <template <template <typename> class> class SomeGate, uint32_t kRounds>
class LeavingScenario {
 public:
  static std::vector<const char*> threads() { return {"submitter 1", "submitter 2", "leaver"}; }

  void run(size_t thread) {
    if (thread == kProducers) return leave();
    for (uint32_t round = 0; round < kRounds; round++) {
      Explorer::current().checkpoint(round);
      submit(items_.make(thread, round));
    }
  }

  void checkAtRest() {
    const size_t left = items_.left(0) + items_.left(1);
    if (left > 0) Explorer::current().fail(std::to_string(left) + " commands are lost");
  }

 private:
  // Processor::submit().
  void submit(Item* item) {
    if (gate_.enter()) {
      mailbox_.push(item);
      gate_.leave();
      moved_.set(moved_.value() + 1);
      return;
    }
    moved_.set(moved_.value() + 1);
    mutex_.lock();
    item->next = nullptr;
    items_.takeList(item);
    mutex_.unlock();
  }

  // Processor::giveAll(), which takes what is left as the heir would.
  void leave() {
    mutex_.lock();
    gate_.close();
    gate_.awaitEmpty([this] {
      // Looks again when somebody has left the gate.
      const uint64_t seen = moved_.value();
      const std::function<bool()> has_moved = [&] { return moved_.value() != seen; };
      Explorer::current().step(&has_moved);
      Explorer::current().observe(moved_.value());
    });
    items_.takeList(mailbox_.takeAll());
    mutex_.unlock();
  }

  test::Items<kRounds> items_;
  SomeGate<ExploredAtomic> gate_;
  Mailbox<Item, ExploredAtomic> mailbox_;
  test::ExploredMutex mutex_;
  test::ExploredNumber moved_{"moved"};
};

template <template <typename> class Atomic>
struct GateParts {
  static constexpr uint32_t kClosed = 1u << 31;

  bool enter() {
    if ((state.fetch_add(1, std::memory_order_acquire) & kClosed) == 0) return true;
    leave();
    return false;
  }
  void leave() { state.fetch_sub(1, std::memory_order_release); }
  void close() { state.fetch_add(kClosed, std::memory_order_relaxed); }
  template <typename Yield>
  void awaitEmpty(Yield yield) {
    while (state.fetch_add(0, std::memory_order_acquire) != kClosed) yield();
  }

  Atomic<uint32_t> state{0};
};

template <template <typename> class Atomic>
struct EntersByLoadAndAdd : GateParts<Atomic> {
  bool enter() {
    if ((this->state.load() & this->kClosed) != 0) return false;
    this->state.fetch_add(1);
    return true;
  }
};

template <template <typename> class Atomic>
struct DoesNotWait : GateParts<Atomic> {
  template <typename Yield>
  void awaitEmpty(Yield) {}
};

template <template <typename> class Atomic>
struct LeavesRelaxed : GateParts<Atomic> {
  bool enter() {
    if ((this->state.fetch_add(1, std::memory_order_acquire) & this->kClosed) == 0) return true;
    leave();
    return false;
  }
  void leave() { this->state.fetch_sub(1, std::memory_order_relaxed); }
};

template <template <template <typename> class> class SomeGate, uint32_t kRounds>
test::Exploration explore(Model model) {
  test::ProgramOf<LeavingScenario<SomeGate, kRounds>> program;
  test::Exploration exploration = Explorer::explore(program, model);
  std::printf("%s\n", exploration.text().c_str());
  return exploration;
}

// As in doorbell_interleavings_test.cc.
#ifdef ODRADEK_DEBUG
constexpr uint32_t kRounds = 1;
#else
constexpr uint32_t kRounds = 2;
#endif

class GateInterleavings : public testing::TestWithParam<Model> {};

TEST_P(GateInterleavings, NoCommandIsLostOrOvertaken) {
  const test::Exploration exploration = explore<BasicGate, kRounds>(GetParam());
  EXPECT_EQ(exploration.finding, "");
  EXPECT_TRUE(exploration.is_exhaustive);
  EXPECT_GT(exploration.interleavings, 1000) << "too few to show anything";
}

TEST_P(GateInterleavings, AGateThatIsLookedAtFirstIsFound) {
  EXPECT_NE((explore<EntersByLoadAndAdd, 1>(GetParam()).finding), "");
}

TEST_P(GateInterleavings, AnImpatientLeaverIsFound) {
  EXPECT_NE((explore<DoesNotWait, 1>(GetParam()).finding), "");
}

TEST(GateMutant, WhatWasDoneInsideIsSeenOnlyByAReleaseWhereMemoryIsWeak) {
  EXPECT_EQ((explore<LeavesRelaxed, 1>(Model::kSequential).finding), "");
  EXPECT_NE((explore<LeavesRelaxed, 1>(Model::kWeak).finding), "");
}

INSTANTIATE_TEST_SUITE_P(, GateInterleavings, testing::Values(Model::kSequential, Model::kWeak),
                         [](const auto& info) {
                           return info.param == Model::kWeak ? "Weak" : "Sequential";
                         });

}  // namespace
}  // namespace odradek
