#include "block.h"

#include <new>
#include <utility>

#include "bounds.h"
#include "check.h"

namespace odradek {
namespace {

// References that a SlabWriter takes in advance: more than a slab can hold frames.
constexpr uint32_t kAdvance = 1u << 30;

// Stands in a closed pool's list: what comes back is freed.
Block* closedMark() {
  alignas(Block) static std::byte mark[sizeof(Block)];
  return reinterpret_cast<Block*>(mark);
}

}  // namespace

Block* Block::make(Memory& memory, size_t capacity) {
  if (capacity > UINT32_MAX) return nullptr;
  void* bytes = memory.allocate(sizeof(Block) + capacity);
  if (bytes == nullptr) return nullptr;
  Block* block = new (bytes) Block();
  block->capacity = static_cast<uint32_t>(capacity);
  block->memory = &memory;
  return block;
}

void Block::dispose() {
  if (home != nullptr) {
    home->giveBack(this);
  } else {
    free();
  }
}

SlabPool* SlabPool::make(Memory& memory) { return new (std::nothrow) SlabPool(memory); }

Block* SlabPool::take() {
  if (spare_ == nullptr) collectReturned();
  if (spare_ != nullptr) {
    Block* slab = spare_;
    spare_ = slab->next;
    spares_--;
    slab->refs.store(1, std::memory_order_relaxed);
    return slab;
  }
  Block* slab = Block::make(memory_, kSlabBytes);
  if (slab == nullptr) return nullptr;
  slab->home = this;
  refs_.fetch_add(1, std::memory_order_relaxed);
  return slab;
}

void SlabPool::giveBack(Block* slab) {
  Block* head = returned_.load(std::memory_order_acquire);
  do {
    if (head == closedMark()) {
      slab->free();
      unref(1);
      return;
    }
    slab->next = head;
  } while (!returned_.compare_exchange_weak(head, slab, std::memory_order_release,
                                            std::memory_order_acquire));
}

void SlabPool::collectReturned() {
  Block* slab = returned_.exchange(nullptr, std::memory_order_acquire);
  Block* surplus = nullptr;
  while (slab != nullptr) {
    Block* next = slab->next;
    Block*& list = spares_ < kSpareSlabs ? spare_ : surplus;
    if (&list == &spare_) spares_++;
    slab->next = list;
    list = slab;
    slab = next;
  }
  if (surplus != nullptr) unref(freeAll(surplus));
}

void SlabPool::close() {
  Block* returned = returned_.exchange(closedMark(), std::memory_order_acq_rel);
  const uint32_t freed = freeAll(returned) + freeAll(std::exchange(spare_, nullptr));
  unref(freed + 1);
}

uint32_t SlabPool::freeAll(Block* list) {
  uint32_t count = 0;
  while (list != nullptr) {
    std::exchange(list, list->next)->free();
    count++;
  }
  return count;
}

void SlabPool::unref(uint32_t count) {
  if (refs_.fetch_sub(count, std::memory_order_acq_rel) == count) delete this;
}

bool SlabWriter::isUnused() const {
  return slab_->refs.load(std::memory_order_acquire) == kAdvance - issued_;
}

bool SlabWriter::ensure(size_t room) {
  ODRADEK_ASSERT(room <= kSlabBytes);
  if (slab_ != nullptr && used_ > 0 && isUnused()) {
    // Everything issued has come back: begin anew in memory that is still in the cache.
    slab_->refs.store(kAdvance, std::memory_order_relaxed);
    issued_ = 0;
    used_ = 0;
  }
  if (slab_ != nullptr && slab_->capacity - used_ >= room) return true;
  retire();
  slab_ = pool_->take();
  if (slab_ == nullptr) return false;
  slab_->retain(kAdvance - 1);
  return true;
}

void SlabWriter::retire() {
  if (slab_ == nullptr) return;
  slab_->release(kAdvance - issued_);
  slab_ = nullptr;
  used_ = 0;
  issued_ = 0;
}

}  // namespace odradek
