#include "receive.h"

#include <algorithm>
#include <cstring>

#include "bounds.h"
#include "check.h"

namespace odradek {
namespace {

// What one read adds to a large frame whose end is unknown (a delimiter).
constexpr size_t kOpenEndedBytes = 32 * 1024;

// The largest block that is made ready for a frame which is only expected.
constexpr size_t kMaxExpectedBytes = 4 * 1024 * 1024;

}  // namespace

void Receive::Target::shorten(size_t bytes) {
  if (bytes >= total_bytes) return;
  total_bytes = bytes;
  for (iovec& part : parts) {
    part.iov_len = std::min(part.iov_len, bytes);
    bytes -= part.iov_len;
  }
  if (parts[1].iov_len == 0) count = 1;
}

void Receive::drop() {
  if (block_ != nullptr) block_->release();
  block_ = nullptr;
  begin_ = end_ = 0;
  needed_ = 0;
  scanned_ = 0;
}

Cut Receive::search(const Framing& framing, const std::byte* data, size_t size) {
  size_t scanned = scanned_;
  const Cut cut = cutFrame(framing, data, size, &scanned);
  scanned_ = static_cast<uint32_t>(scanned);
  return cut;
}

bool Receive::isOwnRead() const {
  if (empty()) return expected_ > 0;
  return needed_ > kLargeFrameBytes || heldBytes() > kLargeFrameBytes;
}

bool Receive::prepare(SlabWriter& slab, Memory& memory, Target* target) {
  return isOwnRead() ? prepareOwn(slab, memory, target) : prepareSlab(slab, memory, target);
}

bool Receive::prepareOwn(SlabWriter& slab, Memory& memory, Target* target) {
  const size_t held = heldBytes();
  size_t capacity = 0;
  size_t limit = 0;  // how far this read may fill the block
  if (empty()) {
    capacity = limit = expected_;
  } else if (needed_ > 0) {
    // A block with room is filled first, so that growing copies less than a third of the frame.
    const bool has_room = block_->capacity >= needed_ || block_->capacity - held >= kMinReadBytes;
    const size_t grown = std::max(kFirstLargeBytes, held * kLargeGrowth);
    capacity = has_room ? block_->capacity : std::min<size_t>(needed_, grown);
    limit = std::min<size_t>(needed_, capacity);
  } else {
    // Filled before it is doubled, so that a byte is copied about once however long the frame is.
    const bool has_room = block_->capacity - held >= kMinReadBytes;
    capacity = has_room ? block_->capacity : std::max(held * 2, held + kOpenEndedBytes);
    limit = std::min(capacity, held + kOpenEndedBytes);
  }
  if (!ensureOwn(memory, capacity)) return false;
  target->own_bytes = limit - held;
  target->parts[0] = {block_->data() + end_, target->own_bytes};
  target->count = 1;
  target->total_bytes = target->own_bytes;
  const bool completes = empty() || limit == needed_;
  if (completes && slab.ensure(kMinReadBytes)) {
    // Room for what follows the frame, so that a short read tells that the kernel has no more.
    target->parts[1] = {slab.at(), slab.room()};
    target->count = 2;
    target->total_bytes += slab.room();
  }
  return true;
}

bool Receive::prepareSlab(SlabWriter& slab, Memory& memory, Target* target) {
  (void)memory;
  const size_t held = heldBytes();
  if (!slab.ensure(held + kMinReadBytes)) return false;
  if (held > 0) std::memcpy(slab.at(), block_->data() + begin_, held);
  target->own_bytes = 0;
  target->parts[0] = {slab.at() + held, slab.room() - held};
  target->count = 1;
  target->total_bytes = target->parts[0].iov_len;
  return true;
}

Receive::Outcome Receive::received(const Target& target, size_t bytes, const Framing& framing,
                                   SlabWriter& slab, Memory& memory, FrameSink& sink) {
  if (target.own_bytes == 0) {
    const size_t held = heldBytes();
    const uint32_t scanned = scanned_;
    const uint64_t needed = needed_;
    if (needed > 0 && held + bytes < needed) {
      // Still the same small frame: keep it where it is and add to it.
      return append(memory, slab.at() + held, bytes) ? Outcome::kMore : Outcome::kRefused;
    }
    // The slab has the held bytes too: from here on that copy counts.
    begin_ = end_ = 0;
    scanned_ = scanned;
    return cutSlab(held + bytes, framing, slab, memory, sink);
  }
  const size_t own = std::min(bytes, target.own_bytes);
  const size_t excess = bytes - own;
  end_ += static_cast<uint32_t>(own);
  if (begin_ == 0 && end_ == own && excess == 0 && own < kLargeFrameBytes) {
    // A large frame was expected and small ones came: they belong into the slab.
    expected_ = 0;
    if (!slab.ensure(own)) return Outcome::kRefused;
    std::memcpy(slab.at(), block_->data(), own);
    drop();
    return cutSlab(own, framing, slab, memory, sink);
  }
  const Outcome outcome = cutHeld(framing, memory, sink);
  if (excess == 0 || outcome == Outcome::kRefused) return outcome;
  if (empty()) return cutSlab(excess, framing, slab, memory, sink);
  // More frames came than the block was made for, or the sink halted: keep the bytes in order.
  if (!append(memory, slab.at(), excess)) return Outcome::kRefused;
  return outcome == Outcome::kMore ? cutHeld(framing, memory, sink) : outcome;
}

Receive::Outcome Receive::cutSlab(size_t bytes, const Framing& framing, SlabWriter& slab,
                                  Memory& memory, FrameSink& sink) {
  std::byte* const data = slab.at();
  const uint32_t base = slab.offset();
  size_t begin = 0;
  Outcome outcome = Outcome::kMore;
  needed_ = 0;
  while (true) {
    const Cut cut = search(framing, data + begin, bytes - begin);
    if (cut.kind == Cut::Kind::kMore) {
      needed_ = cut.frame_bytes;
      break;
    }
    if (cut.kind == Cut::Kind::kBroken) {
      sink.broken(cut);
      outcome = Outcome::kBroken;
      break;
    }
    if (!sink.admit()) {
      outcome = Outcome::kHalted;
      break;
    }
    sink.complete(slab.issue(), base + begin, cut);
    begin += cut.frame_bytes;
    frameDone(cut);
  }
  slab.commit(begin);
  // hold() copies into the connection's own block, which the slab never is.
  if (!hold(memory, data + begin, bytes - begin)) return Outcome::kRefused;
  return outcome;
}

Receive::Outcome Receive::cutHeld(const Framing& framing, Memory& memory, FrameSink& sink) {
  needed_ = 0;
  while (!empty()) {
    const Cut cut = search(framing, block_->data() + begin_, heldBytes());
    if (cut.kind == Cut::Kind::kMore) {
      needed_ = cut.frame_bytes;
      // What is left must not pin the frames before it.
      const bool is_compact = begin_ == 0 || relocate(memory, heldBytes());
      return is_compact ? Outcome::kMore : Outcome::kRefused;
    }
    if (cut.kind == Cut::Kind::kBroken) {
      sink.broken(cut);
      return Outcome::kBroken;
    }
    const Outcome outcome = completeOwn(memory, sink, cut);
    if (outcome != Outcome::kMore) return outcome;
  }
  drop();
  return Outcome::kMore;
}

Receive::Outcome Receive::completeOwn(Memory& memory, FrameSink& sink, const Cut& cut) {
  Block* exact = nullptr;
  if (cut.frame_bytes >= kLargeFrameBytes && block_->capacity - cut.frame_bytes > kSlabBytes) {
    // JavaScript may keep this frame for ever: it must not pin the rest of the block. Made before
    // the frame is admitted, since what was admitted has to be completed.
    exact = Block::make(memory, cut.frame_bytes);
    if (exact == nullptr) return Outcome::kRefused;
  }
  if (!sink.admit()) {
    if (exact != nullptr) exact->release();
    return Outcome::kHalted;
  }
  if (exact != nullptr) {
    std::memcpy(exact->data(), block_->data() + begin_, cut.frame_bytes);
    sink.complete(exact, 0, cut);
  } else {
    block_->retain();
    sink.complete(block_, begin_, cut);
  }
  begin_ += static_cast<uint32_t>(cut.frame_bytes);
  frameDone(cut);
  return Outcome::kMore;
}

void Receive::frameDone(const Cut& cut) {
  scanned_ = 0;
  const bool is_large = cut.frame_bytes >= kLargeFrameBytes;
  const size_t expected = is_large ? std::min<size_t>(cut.frame_bytes, kMaxExpectedBytes) : 0;
  expected_ = static_cast<uint32_t>(expected);
}

bool Receive::ensureOwn(Memory& memory, size_t capacity) {
  if (block_ != nullptr && begin_ == 0 && block_->capacity >= capacity && block_->isSole()) {
    return true;
  }
  return relocate(memory, std::max(capacity, heldBytes()));
}

bool Receive::relocate(Memory& memory, size_t capacity) {
  Block* other = Block::make(memory, capacity);
  if (other == nullptr) return false;
  const size_t held = heldBytes();
  if (held > 0) std::memcpy(other->data(), block_->data() + begin_, held);
  if (block_ != nullptr) block_->release();
  block_ = other;
  begin_ = 0;
  end_ = static_cast<uint32_t>(held);
  return true;
}

void Receive::readNothing() {
  if (empty() && block_ != nullptr) drop();
}

bool Receive::hold(Memory& memory, const std::byte* bytes, size_t size) {
  ODRADEK_ASSERT(empty());
  if (size > 0) return append(memory, bytes, size);
  if (block_ != nullptr) block_->release();
  block_ = nullptr;
  begin_ = end_ = 0;
  return true;
}

bool Receive::append(Memory& memory, const std::byte* bytes, size_t size) {
  const size_t held = heldBytes();
  if (held == 0) begin_ = end_ = 0;
  const bool fits = block_ != nullptr && block_->isSole() && block_->capacity - end_ >= size;
  if (!fits) {
    // A power of two, so that a sender of single bytes costs few copies.
    size_t capacity = 256;
    while (capacity < held + size) capacity *= 2;
    if (!ensureOwn(memory, capacity)) return false;
  }
  std::memcpy(block_->data() + end_, bytes, size);
  end_ += static_cast<uint32_t>(size);
  return true;
}

bool Receive::unread(Memory& memory, const std::byte* bytes, size_t size) {
  const size_t held = heldBytes();
  if (size + held == 0) {
    drop();
    return true;
  }
  Block* joined = Block::make(memory, size + held);
  if (joined == nullptr) return false;
  if (size > 0) std::memcpy(joined->data(), bytes, size);
  if (held > 0) std::memcpy(joined->data() + size, block_->data() + begin_, held);
  drop();
  block_ = joined;
  end_ = static_cast<uint32_t>(size + held);
  return true;
}

}  // namespace odradek
