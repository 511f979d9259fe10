#include "explorer.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "../core/check.h"

namespace odradek::test {
namespace {

Explorer* at_work = nullptr;

constexpr double kBeingExplored = -1;
constexpr uint64_t kDone = ~uint64_t{0};
constexpr size_t kLongestRun = 100'000;

}  // namespace

std::string Exploration::text() const {
  char numbers[160];
  std::snprintf(numbers, sizeof(numbers),
                "%.4g interleavings of up to %zu steps, through %llu states in %llu runs",
                interleavings, longest, static_cast<unsigned long long>(states),
                static_cast<unsigned long long>(runs));
  std::string text = numbers;
  if (finding.empty()) return text;
  text += "\n" + finding + ":\n";
  for (const std::string& step : schedule) text += "  " + step + "\n";
  return text;
}

Explorer& Explorer::current() { return *at_work; }

Exploration Explorer::explore(Program& program, Model model, uint64_t most_states) {
  Explorer explorer(program, model, most_states);
  ODRADEK_REQUIRE(at_work == nullptr);
  at_work = &explorer;
  explorer.explore();
  at_work = nullptr;
  return std::move(explorer.result_);
}

Explorer::Explorer(Program& program, Model model, uint64_t most_states)
    : program_(program), model_(model), most_states_(most_states) {
  const std::vector<const char*> names = program.threads();
  threads_.resize(names.size());
  for (size_t i = 0; i < names.size(); i++) {
    threads_[i].name = names[i];
    // The same fiber runs the thread in every run.
    threads_[i].fiber = std::make_unique<Fiber>([this, i] {
      while (true) {
        program_.run(i);
        threads_[i].is_done = true;
        memory_.finished(i);
        threads_[i].fiber->suspend();
      }
    });
  }
}

// --- The search ----------------------------------------------------------------------------------

void Explorer::explore() {
  while (true) {
    run();
    // What was taken for the same may not be: once more, from the start.
    if (memory_.hasNewReader()) {
      startOver();
      continue;
    }
    if (!result_.finding.empty()) return repeatWithNotes();
    if (states_.size() > most_states_) return;
    if (!backtrack()) break;
  }
  result_.is_exhaustive = true;
}

void Explorer::startOver() {
  forks_.clear();
  states_.clear();
  result_ = Exploration();
}

// One run from the start: along the forks that are known, then wherever nobody has been.
void Explorer::run() {
  start();
  while (is_running_) {
    std::array<size_t, SharedMemoryModel::kMaxThreads> able{};
    uint32_t count = 0;
    for (size_t i = 0; i < threads_.size(); i++) {
      const Thread& thread = threads_[i];
      if (thread.is_done || (thread.is_possible != nullptr && !(*thread.is_possible)())) continue;
      able[count++] = i;
    }
    if (count == 0) {
      has_threads_ = false;
      program_.checkAtRest();
      this->count(1);
      break;
    }
    if (arrive(count) == Arrival::kKnown) break;
    thread_ = able[forks_[passed_ - 1].chosen];
    steps_++;
    if (steps_ > kLongestRun) fail("the run doesn't end");
    threads_[thread_].fiber->resume();
  }
  finish();
}

void Explorer::start() {
  result_.runs++;
  passed_ = 0;
  steps_ = 0;
  memory_.reset(model_ == Model::kWeak, threads_.size());
  names_.clear();
  has_threads_ = false;
  is_running_ = true;
  thread_ = 0;
  program_.reset();
  memory_.share();
  has_threads_ = true;
  // Each thread up to its first step.
  for (thread_ = 0; thread_ < threads_.size(); thread_++) {
    threads_[thread_].is_done = false;
    threads_[thread_].known = 0;
    threads_[thread_].is_possible = nullptr;
    threads_[thread_].fiber->resume();
  }
}

// Lets every thread come to its end.
void Explorer::finish() {
  is_running_ = false;
  result_.longest = std::max(result_.longest, steps_);
  for (thread_ = 0; thread_ < threads_.size(); thread_++) {
    while (!threads_[thread_].is_done) threads_[thread_].fiber->resume();
  }
}

Explorer::Arrival Explorer::arrive(uint32_t count) {
  if (passed_ < forks_.size()) {
    ODRADEK_REQUIRE(forks_[passed_].is_state && forks_[passed_].count == count);
    passed_++;
    return Arrival::kReplayed;
  }
  if (is_noting_) {
    // This is where it was found.
    fail("here it has been before");
    return Arrival::kKnown;
  }
  const uint64_t here = state();
  const auto [found, is_new] = states_.try_emplace(here, kBeingExplored);
  if (!is_new) {
    if (found->second < 0) fail("goes round in circles");
    this->count(found->second);
    return Arrival::kKnown;
  }
  result_.states++;
  forks_.push_back({.is_state = true, .state = here, .chosen = 0, .count = count});
  passed_++;
  return Arrival::kNew;
}

uint32_t Explorer::choose(uint32_t count) {
  if (!is_running_ || !has_threads_ || count == 1) return 0;
  if (passed_ < forks_.size()) {
    ODRADEK_REQUIRE(!forks_[passed_].is_state && forks_[passed_].count == count);
    return forks_[passed_++].chosen;
  }
  forks_.push_back({.is_state = false, .state = 0, .chosen = 0, .count = count});
  passed_++;
  return 0;
}

// To the last fork with a way that wasn't taken; false if there is none.
bool Explorer::backtrack() {
  while (!forks_.empty()) {
    Fork& last = forks_.back();
    if (++last.chosen < last.count) return true;
    const double interleavings = last.interleavings;
    if (last.is_state) states_[last.state] = interleavings;
    forks_.pop_back();
    count(interleavings);
  }
  return false;
}

void Explorer::count(double interleavings) {
  if (forks_.empty()) {
    result_.interleavings = interleavings;
  } else {
    forks_.back().interleavings += interleavings;
  }
}

void Explorer::repeatWithNotes() {
  const std::string finding = std::exchange(result_.finding, "");
  is_noting_ = true;
  states_.clear();
  run();
  result_.finding = finding;
}

uint64_t Explorer::state() const {
  uint64_t hash = memory_.hash();
  for (const Thread& thread : threads_) hash = mixed(hash, thread.is_done ? kDone : thread.known);
  return hash;
}

// --- By the program ------------------------------------------------------------------------------

void Explorer::step(const std::function<bool()>* is_possible) {
  if (!is_running_ || !has_threads_) return;
  Thread& thread = threads_[thread_];
  thread.is_possible = is_possible;
  const size_t self = thread_;
  thread.fiber->suspend();
  thread_ = self;
  thread.is_possible = nullptr;
}

void Explorer::checkpoint(uint64_t known) { threads_[thread_].known = mixed(1, known); }

void Explorer::observe(uint64_t value) {
  if (has_threads_) threads_[thread_].known = mixed(threads_[thread_].known, value);
}

void Explorer::fail(const std::string& finding) {
  if (!is_running_) return;
  if (result_.finding.empty()) result_.finding = finding;
  if (is_noting_) note("-> " + finding);
  is_running_ = false;
}

void Explorer::note(const std::string& what) {
  if (!is_noting_ || !is_running_) return;
  const char* who = has_threads_ ? threads_[thread_].name : "at rest";
  result_.schedule.push_back(std::string(who) + ": " + what);
}

std::string Explorer::label(size_t location) const {
  size_t before = 0;
  size_t all = 0;
  for (size_t i = 0; i < names_.size(); i++) {
    if (std::strcmp(names_[i], names_[location]) != 0) continue;
    all++;
    before += i < location ? 1 : 0;
  }
  std::string label = names_[location];
  if (all > 1) label += " " + std::to_string(before + 1);
  return label;
}

size_t Explorer::add(const char* name, SharedMemoryModel::Kind kind, uint64_t value) {
  names_.push_back(name);
  return memory_.add(kind, value);
}

}  // namespace odradek::test
