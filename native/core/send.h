// Kafka's NetworkSend, as a queue: replies of one connection that the kernel has not taken yet,
// in order, with the requests that each settles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "block.h"
#include "ring.h"
#include "socket_ops.h"

namespace odradek {

// Bytes to send (or none), and what is settled once they are sent. Owns one reference.
struct Segment {
  Block* block = nullptr;
  uint32_t offset = 0;
  uint32_t length = 0;
  uint32_t settles = 0;
  uint32_t sequence = 0;
  // Who gave it and is told its fate; see Command.
  uint32_t origin = 0;
  bool notify = false;
  bool discarded = false;
  bool is_push = false;
};

class Send {
 public:
  enum class Outcome : uint8_t {
    kDone,    // nothing is left
    kFull,    // the kernel takes no more: go on when the socket becomes writable
    kBudget,  // this turn's share is used up
    kFailed,  // see error()
  };

  Send() = default;
  Send(const Send&) = delete;
  Send& operator=(const Send&) = delete;
  ~Send();

  bool empty() const { return segments_.empty(); }
  // What is left to be written; counted anew with every call.
  size_t unsentBytes() const;
  int error() const { return error_; }

  void push(const Segment& segment) { segments_.push(segment); }

  // Takes segments that need no write off the front, or all of them (of a dead connection).
  bool popSettled(Segment* segment);
  bool popAny(Segment* segment);

  // Writes what there is, gathered; completed segments wait for popSettled().
  Outcome flush(SocketOps& sockets, int fd, uint64_t* calls, uint64_t* bytes);

  // The kernel is full and this may take long: small rests move to memory of their own size, so
  // that a slow reader doesn't pin whole slabs.
  void detach(Memory& memory);

 private:
  void pop(Segment* segment);
  void advance(size_t bytes);

  // Without an array where there are none: most connections wait for a request.
  Ring<Segment> segments_;
  // Segments at the front whose bytes are all sent.
  uint32_t completed_ = 0;
  int error_ = 0;
};

}  // namespace odradek
