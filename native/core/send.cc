#include "send.h"

#include <cerrno>
#include <cstring>

#include "bounds.h"
#include "check.h"

namespace odradek {

Send::~Send() {
  Segment segment;
  while (popAny(&segment)) {
    if (segment.block != nullptr) segment.block->release();
  }
}

size_t Send::unsentBytes() const {
  size_t bytes = 0;
  for (size_t i = completed_; i < segments_.size(); i++) bytes += segments_.at(i).length;
  return bytes;
}

bool Send::popSettled(Segment* segment) {
  while (completed_ < segments_.size() && segments_.at(completed_).length == 0) completed_++;
  if (completed_ == 0) return false;
  pop(segment);
  return true;
}

bool Send::popAny(Segment* segment) {
  if (segments_.empty()) return false;
  pop(segment);
  return true;
}

void Send::pop(Segment* segment) {
  if (completed_ > 0) completed_--;
  *segment = segments_.pop();
  if (segments_.empty()) segments_.shrink();
}

Send::Outcome Send::flush(SocketOps& sockets, int fd, uint64_t* calls, uint64_t* bytes) {
  size_t budget = kWriteBytesPerTurn;
  while (true) {
    iovec parts[kSegmentsPerWrite];
    int count = 0;
    size_t total = 0;
    for (size_t i = completed_; i < segments_.size() && count < kSegmentsPerWrite; i++) {
      if (count > 0 && total >= budget) break;
      Segment& segment = segments_.at(i);
      if (segment.length == 0) continue;
      parts[count++] = {segment.block->data() + segment.offset, segment.length};
      total += segment.length;
    }
    if (count == 0) return Outcome::kDone;
    if (budget == 0) return Outcome::kBudget;
    const ssize_t written = sockets.write(fd, parts, count);
    (*calls)++;
    if (written < 0) {
      if (written == -EINTR) continue;
      if (written == -EAGAIN || written == -EWOULDBLOCK) return Outcome::kFull;
      error_ = static_cast<int>(-written);
      return Outcome::kFailed;
    }
    const auto sent = static_cast<size_t>(written);
    *bytes += sent;
    advance(sent);
    if (sent < total) return Outcome::kFull;
    budget -= sent < budget ? sent : budget;
  }
}

void Send::advance(size_t bytes) {
  while (completed_ < segments_.size()) {
    Segment& segment = segments_.at(completed_);
    if (segment.length > bytes) {
      segment.offset += static_cast<uint32_t>(bytes);
      segment.length -= static_cast<uint32_t>(bytes);
      return;
    }
    bytes -= segment.length;
    segment.offset += segment.length;
    segment.length = 0;
    completed_++;
    if (bytes == 0) return;
  }
}

void Send::detach(Memory& memory) {
  for (size_t i = completed_; i < segments_.size(); i++) {
    Segment& segment = segments_.at(i);
    if (segment.length == 0 || segment.block->capacity / 2 <= segment.length) continue;
    Block* own = Block::make(memory, segment.length);
    if (own == nullptr) return;  // the slab stays pinned a while longer; nothing is lost
    std::memcpy(own->data(), segment.block->data() + segment.offset, segment.length);
    segment.block->release();
    segment.block = own;
    segment.offset = 0;
  }
}

}  // namespace odradek
