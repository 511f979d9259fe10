// Replies of one connection that came before their turn, from handler threads that ran several of
// its requests at once: kept until those before them have come. No more than requests may be in
// flight, and of all connections no more than may be pending: see RequestChannel::keep().
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
    if (kept_ == nullptr) return;
    for (const EarlyReply& reply : kept_->replies) {
      if (reply.segment.block != nullptr) reply.segment.block->release();
    }
  }

  void keep(const EarlyReply& reply) {
    if (kept_ == nullptr) kept_ = std::make_unique<Kept>();
    kept_->replies.push_back(reply);
    kept_->settles += reply.segment.settles;
  }

  // Requests that these settle.
  uint32_t settles() const { return kept_ == nullptr ? 0 : kept_->settles; }

  // Whether one that settles any of these is here already.
  bool settles(uint32_t sequence, uint32_t count) const {
    if (kept_ == nullptr) return false;
    for (const EarlyReply& reply : kept_->replies) {
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
    if (kept_ == nullptr) return false;
    for (auto i = kept_->replies.begin(); i != kept_->replies.end(); ++i) {
      if (i->segment.sequence != sequence) continue;
      *reply = *i;
      kept_->replies.erase(i);
      kept_->settles -= reply->segment.settles;
      if (kept_->replies.empty()) kept_.reset();
      return true;
    }
    return false;
  }

 private:
  // Differences of sequences beyond this are negative.
  static constexpr uint32_t kHalf = 1u << 31;

  struct Kept {
    std::vector<EarlyReply> replies;
    uint32_t settles = 0;
  };

  // Null where there are none.
  std::unique_ptr<Kept> kept_;
};

}  // namespace odradek
