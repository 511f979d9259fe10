// A lock-free mailbox: any thread pushes, one thread takes all, in the order of the pushes.
// Intrusive (a node has a `next`), so pushing allocates nothing and can't fail. Its length is
// bounded by what may be under way: requests, connections, commands.
#pragma once

#include <atomic>

namespace odradek {

template <typename Node, template <typename> class Atomic = std::atomic>
class Mailbox {
 public:
  Mailbox() = default;
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void push(Node* node) {
    Node* head = head_.load(std::memory_order_relaxed);
    do {
      node->next = head;
    } while (!head_.compare_exchange_weak(head, node, std::memory_order_release,
                                          std::memory_order_relaxed));
  }

  // The oldest node, linked by `next` to the younger ones; null if there is none.
  Node* takeAll() {
    if (head_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    Node* node = head_.exchange(nullptr, std::memory_order_acquire);
    Node* oldest = nullptr;
    while (node != nullptr) {
      Node* next = node->next;
      node->next = oldest;
      oldest = node;
      node = next;
    }
    return oldest;
  }

  bool empty() const { return head_.load(std::memory_order_acquire) == nullptr; }

 private:
  // Producers write here; what the consumer took lies elsewhere.
  alignas(64) Atomic<Node*> head_{nullptr};
};

}  // namespace odradek
