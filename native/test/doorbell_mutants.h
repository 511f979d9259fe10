// The doorbell and the mailbox with one planted defect each: what the exploration of the real ones
// would find. Each is the product's code but for the line that its name says.
#pragma once

#include <atomic>
#include <cstdint>

namespace odradek::test {

enum DoorbellState : uint32_t { kAwake, kAsleep, kRung };

template <template <typename> class Atomic>
struct DoorbellParts {
  bool ring() { return state.exchange(kRung) == kAsleep; }
  void awake() { state.exchange(kAwake); }
  bool trySleep() {
    uint32_t expected = kAwake;
    return state.compare_exchange_strong(expected, kAsleep);
  }

  Atomic<uint32_t> state{kAwake};
};

// --- Wrong in any order of the steps -------------------------------------------------------------

template <template <typename> class Atomic>
struct SleepsByLoadAndStore : DoorbellParts<Atomic> {
  bool trySleep() {
    if (this->state.load() != kAwake) return false;
    this->state.store(kAsleep);
    return true;
  }
};

template <template <typename> class Atomic>
struct SleepsWithoutLooking : DoorbellParts<Atomic> {
  bool trySleep() {
    this->state.exchange(kAsleep);
    return true;
  }
};

template <template <typename> class Atomic>
struct RingsOnlyWhoSleeps : DoorbellParts<Atomic> {
  bool ring() {
    uint32_t expected = kAsleep;
    return this->state.compare_exchange_strong(expected, kRung);
  }
};

template <template <typename> class Atomic>
struct RingsByLoadAndStore : DoorbellParts<Atomic> {
  bool ring() {
    const bool sleeps = this->state.load() == kAsleep;
    this->state.store(kRung);
    return sleeps;
  }
};

template <template <typename> class Atomic>
struct RingLeavesAsleep : DoorbellParts<Atomic> {
  bool ring() {
    uint32_t expected = kAwake;
    return !this->state.compare_exchange_strong(expected, kRung) && expected == kAsleep;
  }
};

template <template <typename> class Atomic>
struct AwakeForgetsTheRing : DoorbellParts<Atomic> {
  void awake() {
    uint32_t expected = kAsleep;
    this->state.compare_exchange_strong(expected, kAwake);
  }
};

// --- Wrong in weak memory only -------------------------------------------------------------------

template <template <typename> class Atomic>
struct AwakeByStore : DoorbellParts<Atomic> {
  void awake() { this->state.store(kAwake); }
};

template <template <typename> class Atomic>
struct AwakeDoesNotAcquire : DoorbellParts<Atomic> {
  void awake() { this->state.exchange(kAwake, std::memory_order_release); }
};

template <template <typename> class Atomic>
struct RingDoesNotRelease : DoorbellParts<Atomic> {
  bool ring() { return this->state.exchange(kRung, std::memory_order_acquire) == kAsleep; }
};

// --- The mailbox ---------------------------------------------------------------------------------

template <typename Node, template <typename> class Atomic>
struct MailboxParts {
  void push(Node* node) { pushBy(node, std::memory_order_release); }
  Node* takeAll() {
    if (head.load(std::memory_order_relaxed) == nullptr) return nullptr;
    return reversed(head.exchange(nullptr, std::memory_order_acquire));
  }

  void pushBy(Node* node, std::memory_order order) {
    Node* top = head.load(std::memory_order_relaxed);
    do {
      node->next = top;
    } while (!head.compare_exchange_weak(top, node, order, std::memory_order_relaxed));
  }
  static Node* reversed(Node* node) {
    Node* oldest = nullptr;
    while (node != nullptr) {
      Node* next = node->next;
      node->next = oldest;
      oldest = node;
      node = next;
    }
    return oldest;
  }

  Atomic<Node*> head{nullptr};
};

template <typename Node, template <typename> class Atomic>
struct PushesByStore : MailboxParts<Node, Atomic> {
  void push(Node* node) {
    node->next = this->head.load(std::memory_order_relaxed);
    this->head.store(node, std::memory_order_release);
  }
};

template <typename Node, template <typename> class Atomic>
struct TakesByStore : MailboxParts<Node, Atomic> {
  Node* takeAll() {
    Node* top = this->head.load(std::memory_order_acquire);
    if (top != nullptr) this->head.store(nullptr, std::memory_order_relaxed);
    return this->reversed(top);
  }
};

template <typename Node, template <typename> class Atomic>
struct LinksAfterPush : MailboxParts<Node, Atomic> {
  void push(Node* node) {
    Node* top = this->head.load(std::memory_order_relaxed);
    while (!this->head.compare_exchange_weak(top, node, std::memory_order_release,
                                             std::memory_order_relaxed)) {
    }
    node->next = top;
  }
};

template <typename Node, template <typename> class Atomic>
struct TakesYoungestFirst : MailboxParts<Node, Atomic> {
  Node* takeAll() { return this->head.exchange(nullptr, std::memory_order_acquire); }
};

template <typename Node, template <typename> class Atomic>
struct PushDoesNotRelease : MailboxParts<Node, Atomic> {
  void push(Node* node) { this->pushBy(node, std::memory_order_relaxed); }
};

template <typename Node, template <typename> class Atomic>
struct TakeDoesNotAcquire : MailboxParts<Node, Atomic> {
  Node* takeAll() {
    if (this->head.load(std::memory_order_relaxed) == nullptr) return nullptr;
    return this->reversed(this->head.exchange(nullptr, std::memory_order_relaxed));
  }
};

}  // namespace odradek::test
