// Memory that crosses threads: counted references, and a home to go back to.
//
// A Block is a header and its bytes in one allocation. Slabs (blocks of kSlabBytes) belong to a
// SlabPool and return to the thread that allocated them; other blocks are freed by whoever lets
// go last, at whatever time: JavaScript may keep a large frame long after its server is gone.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "memory.h"

namespace odradek {

class SlabPool;

struct Block {
  // One reference, or null where memory is refused.
  static Block* make(Memory& memory, size_t capacity);

  std::byte* data() { return reinterpret_cast<std::byte*>(this + 1); }

  void retain(uint32_t count = 1) { refs.fetch_add(count, std::memory_order_relaxed); }
  void release(uint32_t count = 1) {
    if (refs.fetch_sub(count, std::memory_order_acq_rel) == count) dispose();
  }
  bool isSole() const { return refs.load(std::memory_order_acquire) == 1; }

  std::atomic<uint32_t> refs{1};
  uint32_t capacity = 0;
  Memory* memory = nullptr;
  SlabPool* home = nullptr;
  Block* next = nullptr;

 private:
  friend class SlabPool;

  void dispose();
  // Nobody has a reference any more.
  void free() { memory->release(this, sizeof(Block) + capacity); }
};

// The slabs of one thread. take() and close() belong to that thread; giveBack() to any. A closed
// pool lives until its last slab has come back.
class SlabPool {
 public:
  static SlabPool* make(Memory& memory);

  // A slab with one reference, or null where memory is refused.
  Block* take();

  // Called by the last release of a slab.
  void giveBack(Block* slab);

  // The owner is done: slabs that come back from now on are freed.
  void close();

 private:
  explicit SlabPool(Memory& memory) : memory_(memory) {}
  ~SlabPool() = default;

  void collectReturned();
  uint32_t freeAll(Block* list);
  void unref(uint32_t count);

  Memory& memory_;
  Block* spare_ = nullptr;
  uint32_t spares_ = 0;
  // The owner, and every slab that exists.
  std::atomic<uint32_t> refs_{1};
  alignas(64) std::atomic<Block*> returned_{nullptr};
};

// The slab that a thread is filling. It issues references without touching the slab's count (a
// large number of them is taken in advance and what was not issued is given back at the end), so
// the two threads don't fight for the counter's cache line frame by frame.
class SlabWriter {
 public:
  explicit SlabWriter(SlabPool* pool) : pool_(pool) {}
  SlabWriter(const SlabWriter&) = delete;
  SlabWriter& operator=(const SlabWriter&) = delete;
  ~SlabWriter() { retire(); }

  // Makes sure of `room` bytes at at(); false where memory is refused.
  bool ensure(size_t room);

  std::byte* at() { return slab_->data() + used_; }
  uint32_t offset() const { return used_; }
  size_t room() const { return slab_ == nullptr ? 0 : slab_->capacity - used_; }

  // The first `bytes` of the room are in use.
  void commit(size_t bytes) { used_ += static_cast<uint32_t>(bytes); }

  // One more reference to the slab, for whoever gets a frame in it.
  Block* issue() {
    issued_++;
    return slab_;
  }

  void retire();

  // From now on slabs come from another pool.
  void use(SlabPool* pool) {
    retire();
    pool_ = pool;
  }

 private:
  bool isUnused() const;

  SlabPool* pool_;
  Block* slab_ = nullptr;
  uint32_t used_ = 0;
  uint32_t issued_ = 0;
};

}  // namespace odradek
