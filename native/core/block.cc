#include "block.h"

#include <cstdlib>
#include <new>

#include "bounds.h"
#include "check.h"

namespace odradek {
namespace {

// References that a SlabWriter takes in advance: more than a slab can hold frames.
constexpr uint32_t kAdvance = 1u << 30;

// Stands in a closed pool's list: what comes back is freed.
Block* closedMark() { return reinterpret_cast<Block*>(alignof(Block)); }

class SystemMemory final : public Memory {
 public:
  void* allocate(size_t bytes) override { return std::malloc(bytes); }
  void release(void* memory) override { std::free(memory); }
};

}  // namespace

Memory& systemMemory() {
  static SystemMemory memory;
  return memory;
}

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
    memory->release(this);
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
      destroySlab(slab);
      return;
    }
    slab->next = head;
  } while (!returned_.compare_exchange_weak(head, slab, std::memory_order_release,
                                            std::memory_order_acquire));
}

void SlabPool::collectReturned() {
  Block* slab = returned_.exchange(nullptr, std::memory_order_acquire);
  while (slab != nullptr) {
    Block* next = slab->next;
    if (spares_ < kSpareSlabs) {
      slab->next = spare_;
      spare_ = slab;
      spares_++;
    } else {
      destroySlab(slab);
    }
    slab = next;
  }
}

void SlabPool::close() {
  Block* slab = returned_.exchange(closedMark(), std::memory_order_acq_rel);
  while (slab != nullptr) {
    Block* next = slab->next;
    destroySlab(slab);
    slab = next;
  }
  while (spare_ != nullptr) {
    Block* next = spare_->next;
    destroySlab(spare_);
    spare_ = next;
  }
  unref();
}

void SlabPool::destroySlab(Block* slab) {
  memory_.release(slab);
  unref();
}

void SlabPool::unref() {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
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
