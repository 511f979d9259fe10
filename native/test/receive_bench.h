// A Receive driven without sockets: bytes are read into its targets in whatever pieces, as a
// processor would, and the frames that come out are kept. Shared by the tests and the fuzzers.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "../core/receive.h"

namespace odradek::test {

class ReceiveBench final : public FrameSink {
 public:
  using Outcome = Receive::Outcome;

  ReceiveBench(const Framing& framing, Memory& memory)
      : framing(framing), memory_(memory), pool_(SlabPool::make(memory)), slab_(pool_) {}
  ReceiveBench(const ReceiveBench&) = delete;
  ReceiveBench& operator=(const ReceiveBench&) = delete;
  ~ReceiveBench() {
    receive.drop();
    slab_.retire();
    pool_->close();
  }

  // The peer has sent `bytes`: reads until there are none left, or until cutting stops.
  Outcome feed(std::string_view bytes) {
    Outcome outcome = Outcome::kMore;
    while (!bytes.empty() && outcome == Outcome::kMore) {
      Receive::Target target;
      if (!receive.prepare(slab_, memory_, &target)) return Outcome::kRefused;
      largest_target = std::max(largest_target, target.total_bytes);
      size_t done = 0;
      for (int i = 0; i < target.count; i++) {
        const size_t piece = std::min(target.parts[i].iov_len, bytes.size());
        std::memcpy(target.parts[i].iov_base, bytes.data(), piece);
        bytes.remove_prefix(piece);
        done += piece;
      }
      reads++;
      outcome = receive.received(target, done, framing, slab_, memory_, *this);
    }
    unfed = bytes.size();
    return outcome;
  }

  // A read that brings nothing.
  bool feedNothing() {
    Receive::Target target;
    if (!receive.prepare(slab_, memory_, &target)) return false;
    receive.readNothing();
    return true;
  }

  // Admits `more` further frames and goes on.
  Outcome admitMore(size_t more) {
    admitted += more;
    return receive.cutHeld(framing, memory_, *this);
  }

  bool unread(std::string_view bytes) {
    return receive.unread(memory_, reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
  }

  bool admit() override {
    if (admitted == 0) return false;
    admitted--;
    permits_taken++;
    return true;
  }

  void complete(Block* block, size_t offset, const Cut& cut) override {
    const auto* bytes = reinterpret_cast<const char*>(block->data() + offset);
    frames.emplace_back(bytes, cut.frame_bytes);
    cuts.push_back(cut);
    capacities.push_back(block->capacity);
    if (keeps_blocks) {
      kept.push_back({block, offset});
    } else {
      block->release();
    }
  }

  void broken(const Cut& cut) override { why_broken = cut; }

  // What a handler sees that kept its frames until now.
  std::vector<std::string> keptFrames() {
    std::vector<std::string> found;
    for (size_t i = 0; i < kept.size(); i++) {
      const auto* bytes = reinterpret_cast<const char*>(kept[i].block->data() + kept[i].offset);
      found.emplace_back(bytes, frames[i].size());
    }
    return found;
  }
  void releaseKept() {
    for (const Kept& one : kept) one.block->release();
    kept.clear();
  }

  struct Kept {
    Block* block;
    size_t offset;
  };

  Framing framing;
  Receive receive;
  std::vector<std::string> frames;
  std::vector<Cut> cuts;
  Cut why_broken;
  std::vector<size_t> capacities;
  std::vector<Kept> kept;
  bool keeps_blocks = false;
  size_t admitted = SIZE_MAX;
  size_t permits_taken = 0;
  size_t reads = 0;
  size_t unfed = 0;
  size_t largest_target = 0;

 private:
  Memory& memory_;
  SlabPool* pool_;
  SlabWriter slab_;
};

}  // namespace odradek::test
