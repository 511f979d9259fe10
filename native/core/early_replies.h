// Replies of one connection that came before their turn, from handler threads that ran several of
// its requests at once: kept until those before them have come. No more than requests are in
// flight.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "close_reason.h"
#include "send.h"

namespace odradek {

// A reply, or a part of one: of several with one sequence, the last settles it.
struct EarlyReply {
  Segment segment;
  // Close in order once this has left.
  CloseReason reason = CloseReason::kNone;
};

class EarlyReplies {
 public:
  EarlyReplies() = default;
  EarlyReplies(const EarlyReplies&) = delete;
  EarlyReplies& operator=(const EarlyReplies&) = delete;
  ~EarlyReplies() {
    if (replies_ == nullptr) return;
    for (const EarlyReply& reply : *replies_) {
      if (reply.segment.block != nullptr) reply.segment.block->release();
    }
  }

  void keep(const EarlyReply& reply) {
    if (replies_ == nullptr) replies_ = std::make_unique<std::vector<EarlyReply>>();
    replies_->push_back(reply);
  }

  // Whether one that settles any of these is here already.
  bool settles(uint32_t sequence, uint32_t count) const {
    if (replies_ == nullptr) return false;
    for (const EarlyReply& reply : *replies_) {
      const Segment& segment = reply.segment;
      if (segment.settles == 0) continue;
      const bool is_before = segment.sequence + segment.settles - sequence - 1 >= kHalf;
      const bool is_behind = sequence + count - segment.sequence - 1 >= kHalf;
      if (!is_before && !is_behind) return true;
    }
    return false;
  }

  // The oldest part of the reply whose turn it is.
  bool take(uint32_t sequence, EarlyReply* reply) {
    if (replies_ == nullptr) return false;
    for (auto i = replies_->begin(); i != replies_->end(); ++i) {
      if (i->segment.sequence != sequence) continue;
      *reply = *i;
      replies_->erase(i);
      if (replies_->empty()) replies_.reset();
      return true;
    }
    return false;
  }

 private:
  // Differences of sequences beyond this are negative.
  static constexpr uint32_t kHalf = 1u << 31;

  // Null where there are none.
  std::unique_ptr<std::vector<EarlyReply>> replies_;
};

}  // namespace odradek
