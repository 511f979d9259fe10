// The ways in which the product sleeps and wakes, as programs to explore: each follows the code
// that it names line by line, over the product's own doorbell and mailbox (or over a mutant of
// them).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "explored_atomic.h"
#include "explored_wake.h"

namespace odradek::test {

// A scenario is made anew for every run.
template <typename Scenario>
class ProgramOf final : public Program {
 public:
  std::vector<const char*> threads() const override { return Scenario::threads(); }
  void reset() override { scenario_.emplace(); }
  void run(size_t thread) override { scenario_->run(thread); }
  void checkAtRest() override { scenario_->checkAtRest(); }

 private:
  std::optional<Scenario> scenario_;
};

// Ways to misuse what is right in itself.
enum class Use : uint8_t {
  kProduct,
  kRingsFirst,      // and makes its item visible then
  kLooksFirst,      // and calls awake() then
  kStaysAsleep,     // doesn't call awake() after its sleep
  kClearsLate,      // clears a flag after it has done what the flag asks for
  kAnnouncesFirst,  // tells of room before there is any
  kRestsBlindly,    // is known to rest without a look at the queue
  kRestsUnknown,    // sleeps without being known to rest
  kKeepsTheRing,    // wants nothing more, and doesn't pass on that it was rung
};

constexpr size_t kProducers = 2;

struct Item {
  ExploredPlain<Item*> next{"next"};
  ExploredPlain<uint32_t> payload{"payload"};
  size_t producer = 0;
  uint32_t round = 0;
};

inline std::string textOf(const Item& item) {
  return "item " + std::to_string(item.producer + 1) + "." + std::to_string(item.round + 1);
}

inline void failLost(size_t left) {
  Explorer::current().fail("lost wake-up: all sleep or are done, and " + std::to_string(left) +
                           " are left");
}

// One end of a handshake: a doorbell, and what wakes the one who sleeps behind it.
template <template <template <typename> class> class Bell>
class Sleeper {
 public:
  explicit Sleeper(ExploredWake::Kind kind) : wake_(kind) {}

  // Processor::wakeUp(), Acceptor::wakeUp(), Consumer::ring().
  void ring() { wake_.rang(bell_.ring()); }

  // Processor::poll(), Acceptor::poll(). False: the run is over.
  bool poll(bool may_sleep, bool calls_awake = true) {
    if (may_sleep && trySleep()) {
      if (!wake_.sleep()) return false;
    } else {
      wake_.look();
    }
    if (calls_awake) awake();
    return Explorer::current().isRunning();
  }

  bool trySleep() {
    const bool sleeps = bell_.trySleep();
    if (sleeps) wake_.announced();
    return sleeps;
  }
  void awake() {
    bell_.awake();
    wake_.isAwake();
  }
  ExploredWake& wake() { return wake_; }

 private:
  Bell<ExploredAtomic> bell_;
  ExploredWake wake_;
};

// Items of the producers, each taken once, in the order of its producer.
template <uint32_t kRounds>
class Items {
 public:
  Items() {
    for (size_t i = 0; i < kProducers; i++) {
      for (uint32_t round = 0; round < kRounds; round++) {
        items_[i][round].producer = i;
        items_[i][round].round = round;
      }
    }
  }

  Item* make(size_t producer, uint32_t round) {
    Item& item = items_[producer][round];
    item.payload = round + 1;
    return &item;
  }

  void takeList(Item* item) {
    while (item != nullptr && Explorer::current().isRunning()) {
      Item* next = item->next;
      if (item->payload != item->round + 1) {
        Explorer::current().fail(textOf(*item) + " is not what was put into it");
      }
      if (item->round != taken_[item->producer]) {
        Explorer::current().fail(textOf(*item) + " is taken out of its order, or twice");
      }
      taken_[item->producer]++;
      // As if it were freed: what was in it makes no difference any more.
      item->next = nullptr;
      item->payload = 0;
      item = next;
    }
  }

  uint64_t known() const { return taken_[0] * kRounds + taken_[0] + taken_[1]; }
  size_t left(size_t producer) const { return kRounds - taken_[producer]; }

 private:
  std::array<std::array<Item, kRounds>, kProducers> items_;
  std::array<uint32_t, kProducers> taken_{};
};

// Two threads submit() to a processor that polls, and that a socket may wake as well.
template <template <template <typename> class> class Bell,
          template <typename, template <typename> class> class Box, uint32_t kRounds,
          bool kHasNetwork = true, Use kUse = Use::kProduct>
class ProcessorScenario {
 public:
  static std::vector<const char*> threads() {
    std::vector<const char*> threads = {"producer 1", "producer 2", "processor"};
    if (kHasNetwork) threads.push_back("network");
    return threads;
  }

  void run(size_t thread) {
    if (thread < kProducers) return produce(thread);
    if (thread == kProducers) return process();
    sleeper_.wake().interrupt();
  }

  void checkAtRest() {
    const size_t left = items_.left(0) + items_.left(1);
    if (left > 0) failLost(left);
  }

 private:
  // Processor::submit().
  void produce(size_t producer) {
    for (uint32_t round = 0; round < kRounds; round++) {
      Explorer::current().checkpoint(round);
      if (kUse == Use::kRingsFirst) sleeper_.ring();
      commands_.push(items_.make(producer, round));
      if (kUse != Use::kRingsFirst) sleeper_.ring();
    }
  }

  // Processor::turn(): processNewResponses() and poll().
  void process() {
    do {
      Explorer::current().checkpoint(items_.known());
      Item* list = commands_.takeAll();
      if (kUse == Use::kLooksFirst) sleeper_.awake();
      items_.takeList(list);
    } while (sleeper_.poll(true, kUse != Use::kLooksFirst && kUse != Use::kStaysAsleep));
  }

  Items<kRounds> items_;
  Box<Item, ExploredAtomic> commands_;
  Sleeper<Bell> sleeper_{ExploredWake::Kind::kFlag};
};

// Two processors hand requests and events to the JavaScript thread, which a threadsafe function
// calls: NativeServer::onDoorbell() and rest(), NativeTransport's turn.
template <template <template <typename> class> class Bell,
          template <typename, template <typename> class> class Box, uint32_t kRounds>
class HandlerScenario {
 public:
  static std::vector<const char*> threads() { return {"requests", "events", "handler"}; }

  // NativeServer::openDoorbell().
  HandlerScenario() { sleeper_.trySleep(); }

  void run(size_t thread) {
    if (thread == 0) return produceRequests();
    if (thread == 1) return produceEvents();
    while (sleeper_.wake().sleep()) {
      sleeper_.awake();
      turn();
      Explorer::current().checkpoint(known());
    }
  }

  void checkAtRest() {
    const size_t left = items_.left(1) + kRounds - requests_taken_;
    if (left > 0) failLost(left);
  }

 private:
  uint64_t known() const { return items_.known() * (kRounds + 1) + requests_taken_; }

  // RequestChannel::push().
  void produceRequests() {
    for (uint32_t round = 0; round < kRounds; round++) {
      Explorer::current().checkpoint(round);
      lock_.hold("queues a request", [&] {
        queued_ = queued_ + 1;
        return 1;
      });
      sleeper_.ring();
    }
  }

  // Consumer::post() and ring().
  void produceEvents() {
    for (uint32_t round = 0; round < kRounds; round++) {
      Explorer::current().checkpoint(round);
      events_.push(items_.make(1, round));
      sleeper_.ring();
    }
  }

  // Claims one request at a time, so that there is more; until it may rest.
  void turn() {
    while (Explorer::current().isRunning()) {
      Explorer::current().checkpoint(mixed(3, known()));
      const bool is_drained = claim();
      items_.takeList(events_.takeAll());
      if (!is_drained) continue;
      if (sleeper_.trySleep()) return;
      sleeper_.awake();
    }
  }

  bool claim() {
    const uint32_t before = lock_.hold("claims one of", [&] {
      const uint32_t queued = queued_;
      if (queued > 0) queued_ = queued - 1;
      return queued;
    });
    if (before > 0) requests_taken_++;
    return before <= 1;
  }

  Items<kRounds> items_;
  Box<Item, ExploredAtomic> events_;
  ExploredLock lock_{"request channel"};
  ExploredPlain<uint32_t> queued_{"queued"};
  Sleeper<Bell> sleeper_{ExploredWake::Kind::kCalls};
  uint32_t requests_taken_ = 0;
};

// An acceptor hands connections to two processors with room for one each, and sleeps while both are
// full: has_room_ and three doorbells.
template <template <template <typename> class> class Bell, uint32_t kConnections,
          Use kUse = Use::kProduct>
class RoomScenario {
 public:
  static std::vector<const char*> threads() { return {"processor 1", "processor 2", "acceptor"}; }

  void run(size_t thread) { thread < kProcessors ? process(thread) : accept(); }

  void checkAtRest() {
    const uint32_t taken = processors_[0].taken + processors_[1].taken;
    if (taken < kConnections) failLost(kConnections - taken);
  }

 private:
  static constexpr size_t kProcessors = 2;

  struct ProcessorModel {
    Sleeper<Bell> sleeper{ExploredWake::Kind::kFlag};
    ExploredLock lock{"new connections"};
    ExploredPlain<uint32_t> waiting{"waiting"};
    ExploredPlain<uint32_t> is_awaited{"room listener"};
    uint32_t taken = 0;
  };

  // Acceptor::turn(), with a connection in hand until the last is gone.
  void accept() {
    uint32_t left = kConnections;
    while (left > 0 && Explorer::current().isRunning()) {
      Explorer::current().checkpoint(left * kProcessors + next_);
      if (handOver()) {
        left--;
        continue;
      }
      const bool waits = !has_room_.load(std::memory_order_acquire);
      if (!sleeper_.poll(waits)) return;
    }
  }

  bool handOver() {
    has_room_.store(false, std::memory_order_release);
    for (size_t i = 0; i < kProcessors; i++) {
      ProcessorModel& processor = processors_[next_];
      next_ = (next_ + 1) % kProcessors;
      if (offer(processor)) return true;
    }
    return false;
  }

  // Processor::offer().
  static bool offer(ProcessorModel& processor) {
    const bool is_taken = processor.lock.hold("offers", [&] {
      if (processor.waiting > 0) {
        processor.is_awaited = 1;
        return false;
      }
      processor.waiting = 1;
      return true;
    });
    if (is_taken) processor.sleeper.ring();
    return is_taken;
  }

  // Processor::turn(): takeNewConnections() and poll().
  void process(size_t index) {
    ProcessorModel& processor = processors_[index];
    do {
      Explorer::current().checkpoint(processor.taken);
      if (kUse == Use::kAnnouncesFirst) announce();
      const bool tells = processor.lock.hold("takes connections", [&] {
        if (processor.waiting == 0) return false;
        processor.waiting = 0;
        processor.taken++;
        const bool is_awaited = processor.is_awaited > 0;
        processor.is_awaited = 0;
        return is_awaited;
      });
      Explorer::current().observe(processor.taken);
      if (tells && kUse != Use::kAnnouncesFirst) announce();
    } while (processor.sleeper.poll(true));
  }

  // Acceptor::roomForConnections().
  void announce() {
    has_room_.store(true, std::memory_order_release);
    sleeper_.ring();
  }

  std::array<ProcessorModel, kProcessors> processors_;
  ExploredAtomic<bool> has_room_{true, "has_room"};
  Sleeper<Bell> sleeper_{ExploredWake::Kind::kFlag};
  size_t next_ = 0;
};

// Two handler threads grant permits to a processor: permits_granted_, relaxed, and the doorbell.
template <template <template <typename> class> class Bell, uint32_t kRounds,
          Use kUse = Use::kProduct>
class GrantScenario {
 public:
  static std::vector<const char*> threads() { return {"handler 1", "handler 2", "processor"}; }

  void run(size_t thread) { thread < kProducers ? grant() : process(); }

  void checkAtRest() {
    if (collected_ < kProducers * kRounds) failLost(kProducers * kRounds - collected_);
  }

 private:
  // RequestChannel::claim() and Processor::permitsGranted().
  void grant() {
    for (uint32_t round = 0; round < kRounds; round++) {
      Explorer::current().checkpoint(round);
      lock_.hold("grants", [&] {
        granted_ = granted_ + 1;
        return 1;
      });
      permits_granted_.store(true, std::memory_order_relaxed);
      sleeper_.ring();
    }
  }

  // Processor::serveWaiters() and poll().
  void process() {
    do {
      Explorer::current().checkpoint(collected_);
      if (permits_granted_.load(std::memory_order_relaxed)) collect();
    } while (sleeper_.poll(true));
  }

  void collect() {
    if (kUse != Use::kClearsLate) permits_granted_.store(false, std::memory_order_relaxed);
    collected_ += lock_.hold("collects", [&] {
      const uint32_t granted = granted_;
      granted_ = 0;
      return granted;
    });
    if (kUse == Use::kClearsLate) permits_granted_.store(false, std::memory_order_relaxed);
  }

  ExploredLock lock_{"request channel"};
  ExploredPlain<uint32_t> granted_{"granted"};
  ExploredAtomic<bool> permits_granted_{false, "permits_granted"};
  Sleeper<Bell> sleeper_{ExploredWake::Kind::kFlag};
  uint32_t collected_ = 0;
};

// A processor's requests for two threads of the handler pool: who has found nothing is known to
// rest under the request channel's lock and sleeps then; who pushes takes one of those under the
// lock and rings it after. With kLeaves the first thread wants requests no more after its first
// turn.
template <template <template <typename> class> class Bell, uint32_t kRequests, bool kLeaves = false,
          Use kUse = Use::kProduct>
class PoolScenario {
 public:
  static std::vector<const char*> threads() { return {"processor", "handler 1", "handler 2"}; }

  void run(size_t thread) { thread == 0 ? push() : handle(thread - 1); }

  void checkAtRest() {
    if (claimed_[0] + claimed_[1] < kRequests) failLost(kRequests - claimed_[0] - claimed_[1]);
  }

 private:
  static constexpr size_t kThreads = 2;
  static constexpr size_t kNobody = kThreads;

  // RequestChannel::push().
  void push() {
    for (uint32_t i = 0; i < kRequests; i++) {
      Explorer::current().checkpoint(i);
      ring(lock_.hold("pushes, wakes", [&] {
        queued_ = queued_ + 1;
        return takeSleeper();
      }));
    }
  }

  // HandlerSet::wake().
  size_t takeSleeper() {
    for (size_t i = 0; i < kThreads; i++) {
      if (rests_[i] == 0) continue;
      rests_[i] = 0;
      return i;
    }
    return kNobody;
  }
  void ring(size_t thread) {
    if (thread < kThreads) sleepers_[thread].ring();
  }

  // NativeHandler: onDoorbell(), claim(), rest().
  void handle(size_t me) {
    uint32_t turns = 0;
    bool may_sleep = false;
    do {
      Explorer::current().checkpoint(claimed_[me] * 2 + (turns > 0 ? 1 : 0));
      const bool wants = !kLeaves || me > 0 || turns == 0;
      turns++;
      if (wants) claim(me);
      may_sleep = wants ? rest(me) : abstain(me);
    } while (sleepers_[me].poll(may_sleep));
  }

  // RequestChannel::claimRun().
  void claim(size_t me) {
    claimed_[me] += lock_.hold("claims", [&] {
      rests_[me] = 0;
      if (queued_ == 0) return 0u;
      queued_ = queued_ - 1;
      return 1u;
    });
  }

  bool rest(size_t me) {
    return lock_.hold("rests", [&] {
      if (kUse != Use::kRestsBlindly && queued_ > 0) return false;
      if (kUse != Use::kRestsUnknown) rests_[me] = 1;
      return true;
    });
  }

  bool abstain(size_t me) {
    ring(lock_.hold("wants nothing, wakes", [&] {
      rests_[me] = 0;
      if (kUse == Use::kKeepsTheRing || queued_ == 0) return kNobody;
      return takeSleeper();
    }));
    return true;
  }

  ExploredLock lock_{"request channel"};
  ExploredPlain<uint32_t> queued_{"queued"};
  std::array<ExploredPlain<uint32_t>, kThreads> rests_{ExploredPlain<uint32_t>{"rests 1"},
                                                       ExploredPlain<uint32_t>{"rests 2"}};
  std::array<Sleeper<Bell>, kThreads> sleepers_{Sleeper<Bell>{ExploredWake::Kind::kCalls},
                                                Sleeper<Bell>{ExploredWake::Kind::kCalls}};
  std::array<uint32_t, kThreads> claimed_{};
};

}  // namespace odradek::test
