// Explores every interleaving of a few threads: each runs as a fiber that suspends in front of
// every step that others can see (an operation on an ExploredAtomic, a lock, a wake). The explorer
// takes the steps in one order after the other, depth first, by running the program from its start
// again and again; a state that it has been in before isn't explored once more, only counted.
//
// A state is what is in the memory model, and what each thread knows: what it has read since its
// last checkpoint(). An interleaving ends when no thread can go on; then checkAtRest() says whether
// that was right. Coming back to a state while it is being explored means going round in circles.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "fiber.h"
#include "shared_memory_model.h"

namespace odradek::test {

// What is explored. Between reset() and the end of a run its threads call the explorer.
class Program {
 public:
  virtual ~Program() = default;
  virtual std::vector<const char*> threads() const = 0;
  virtual void reset() = 0;
  virtual void run(size_t thread) = 0;
  // No thread can go on. Tells by fail() what should not be.
  virtual void checkAtRest() = 0;
};

struct Exploration {
  // What was found wrong, and the steps that lead there; empty if nothing was.
  std::string finding;
  std::vector<std::string> schedule;
  // Complete interleavings (of steps, and of values that loads may return): counted, not estimated,
  // but in floating point.
  double interleavings = 0;
  uint64_t states = 0;
  uint64_t runs = 0;
  size_t longest = 0;
  // False: stopped at a finding or at the bound.
  bool is_exhaustive = false;

  std::string text() const;
};

class Explorer {
 public:
  enum class Model : uint8_t { kSequential, kWeak };

  // At most `most_states`.
  static Exploration explore(Program& program, Model model, uint64_t most_states = 1'000'000);

  // The one that is at work.
  static Explorer& current();

  // --- By the program ----------------------------------------------------------------------------
  // False: this run is over. A thread finishes, without checks, as soon as it sees that.
  bool isRunning() const { return is_running_; }
  // Waits until it is this thread's turn for its next step, and (if given) the step is possible.
  void step(const std::function<bool()>* is_possible = nullptr);
  // One of `count` outcomes.
  uint32_t choose(uint32_t count);
  // All that the thread knows from here on, but for what it will observe.
  void checkpoint(uint64_t known);
  void observe(uint64_t value);
  void fail(const std::string& finding);
  // Within a step: what it did.
  void note(const std::string& what);
  bool isNoting() const { return is_noting_; }

  // A place in memory; registered in the same order in every run.
  size_t add(const char* name, SharedMemoryModel::Kind kind, uint64_t value);
  // Its name, numbered if others have it too.
  std::string label(size_t location) const;
  SharedMemoryModel& memory() { return memory_; }
  size_t thread() const { return thread_; }

 private:
  struct Thread {
    std::unique_ptr<Fiber> fiber;
    const char* name = "";
    bool is_done = false;
    uint64_t known = 0;
    const std::function<bool()>* is_possible = nullptr;
  };

  // A fork of the ways: at a state (which thread), or within a step (which outcome).
  struct Fork {
    bool is_state = false;
    uint64_t state = 0;
    uint32_t chosen = 0;
    uint32_t count = 0;
    double interleavings = 0;
  };

  enum class Arrival : uint8_t { kReplayed, kNew, kKnown };

  Explorer(Program& program, Model model, uint64_t most_states);

  void explore();
  void startOver();
  void run();
  void start();
  void finish();
  Arrival arrive(uint32_t count);
  bool backtrack();
  void count(double interleavings);
  void repeatWithNotes();
  uint64_t state() const;

  Program& program_;
  const Model model_;
  const uint64_t most_states_;
  SharedMemoryModel memory_;
  std::vector<const char*> names_;
  std::vector<Thread> threads_;
  size_t thread_ = 0;
  bool is_running_ = false;
  bool is_noting_ = false;
  bool has_threads_ = false;

  std::vector<Fork> forks_;
  // How many of them this run has passed.
  size_t passed_ = 0;
  size_t steps_ = 0;
  // States that were left for good, with their interleavings; below 0: being explored.
  std::unordered_map<uint64_t, double> states_;
  Exploration result_;
};

}  // namespace odradek::test
