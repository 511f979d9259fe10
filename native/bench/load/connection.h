// One client connection: the requests under way on it, their bytes, and the check of what comes
// back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "request.h"

namespace odradek::bench {

struct Answer {
  int64_t started_ns = 0;
  bool is_marked = false;
};

class Connection {
 public:
  // `pipeline` is the most that may be under way. The request outlives the connection.
  Connection(const Request& request, size_t pipeline);

  // Takes a descriptor that it owns from now on; nothing is under way on it.
  void open(int fd);
  void close();
  int fd() const { return fd_; }

  size_t underWay() const { return queued_ - answered_; }
  bool hasRoom() const { return underWay() < pipeline_; }

  // Puts a request behind those under way; there is room. `flush` sends it.
  void queue(int64_t started_ns, uint32_t number, bool is_marked);
  // Sends what the kernel takes.
  void flush();

  // Reads what is there and checks it; gives the number of replies that became complete. Each is to
  // be taken by `takeAnswer` before the next call.
  size_t receive(std::vector<char>& scratch);
  Answer takeAnswer();
  // The oldest request under way that isn't taken yet, if `i` is 0; those behind it above.
  const Answer& underWayAt(size_t i) const { return answers_[(answered_ + i) % pipeline_]; }

 private:
  char* frameAt(uint64_t index) { return frames_.data() + index % pipeline_ * request_->bytes(); }
  size_t takeEchoed(const char* bytes, size_t count);
  size_t takeKafka(const char* bytes, size_t count);
  bool takeKafkaHeader(char byte);

  const Request* request_;
  size_t pipeline_;
  int fd_ = -1;
  // Places for `pipeline` frames and what is known of them, used in turn.
  std::vector<char> frames_;
  std::vector<Answer> answers_;
  // Since the connection was opened: requests, and bytes of them.
  uint64_t queued_ = 0;
  uint64_t received_ = 0;
  uint64_t answered_ = 0;
  uint64_t sent_bytes_ = 0;
  uint64_t received_bytes_ = 0;
  // Of the Kafka reply that is being received: its length and correlation id, and what is missing.
  char reply_header_[kPrefixBytes + sizeof(uint32_t)] = {};
  size_t reply_header_bytes_ = 0;
  size_t reply_left_ = 0;
};

}  // namespace odradek::bench
