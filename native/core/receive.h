// Kafka's NetworkReceive: the bytes of one connection that are not cut into frames yet, and where
// its next read goes.
//
// Most reads go into the processor's slab and are cut there without a copy; what is left of a
// frame is kept in a block of its own, of about its size, so that many half-sent frames pin no
// slabs. A large frame is read into its own block, which grows as the bytes come.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "block.h"
#include "framing.h"

namespace odradek {

// Where complete frames go.
class FrameSink {
 public:
  // Whether one more frame may be completed now. Whoever is told so completes it.
  virtual bool admit() = 0;
  // A frame at `offset` of `block`; the sink takes over one reference.
  virtual void complete(Block* block, size_t offset, const Cut& cut) = 0;
  // What comes next breaks its framing, as the cut says. kBroken follows.
  virtual void broken(const Cut& cut) = 0;

 protected:
  ~FrameSink() = default;
};

class Receive {
 public:
  // Where the next read goes: the connection's own block, then the slab.
  struct Target {
    iovec parts[2] = {};
    int count = 0;
    size_t own_bytes = 0;
    size_t total_bytes = 0;

    // Reads no more than `bytes`.
    void shorten(size_t bytes);
  };

  enum class Outcome : uint8_t {
    kMore,     // read on
    kHalted,   // the sink admits no more: cutHeld() goes on where this stopped
    kBroken,   // the sink was told; the bytes are held, another framing may do better
    kRefused,  // no memory
  };

  Receive() = default;
  Receive(const Receive&) = delete;
  Receive& operator=(const Receive&) = delete;
  ~Receive() { drop(); }

  // False where memory is refused.
  bool prepare(SlabWriter& slab, Memory& memory, Target* target);

  // `bytes` were read into `target`: cuts them into frames.
  Outcome received(const Target& target, size_t bytes, const Framing& framing, SlabWriter& slab,
                   Memory& memory, FrameSink& sink);

  // Cuts what is held, after a halt or a change of framing.
  Outcome cutHeld(const Framing& framing, Memory& memory, FrameSink& sink);

  // Puts bytes back in front of what is held; false where memory is refused.
  bool unread(Memory& memory, const std::byte* bytes, size_t size);

  // The read brought nothing: memory made ready for it goes back.
  void readNothing();

  bool empty() const { return begin_ == end_; }
  size_t heldBytes() const { return end_ - begin_; }
  // Size of the frame whose first bytes are held; 0 while that isn't known.
  uint64_t neededBytes() const { return needed_; }

  // Forgets everything held.
  void drop();

 private:
  Cut search(const Framing& framing, const std::byte* data, size_t size);
  bool isOwnRead() const;
  bool prepareOwn(SlabWriter& slab, Memory& memory, Target* target);
  bool prepareSlab(SlabWriter& slab, Memory& memory, Target* target);
  Outcome cutSlab(size_t bytes, const Framing& framing, SlabWriter& slab, Memory& memory,
                  FrameSink& sink);
  bool ensureOwn(Memory& memory, size_t capacity);
  bool relocate(Memory& memory, size_t capacity);
  bool hold(Memory& memory, const std::byte* bytes, size_t size);
  bool append(Memory& memory, const std::byte* bytes, size_t size);
  Outcome completeOwn(Memory& memory, FrameSink& sink, const Cut& cut);
  void frameDone(const Cut& cut);

  // Held bytes: block_[begin_, end_). Sizes within a block have 32 bits, as its capacity has.
  Block* block_ = nullptr;
  uint32_t begin_ = 0;
  uint32_t end_ = 0;
  // Size of the frame under construction, 0 while unknown; how much of it was searched.
  uint64_t needed_ = 0;
  uint32_t scanned_ = 0;
  // Size of the last frame if it was large: the next one is likely to be, too.
  uint32_t expected_ = 0;
};

}  // namespace odradek
