#include "connection.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fail.h"

namespace odradek::bench {

Connection::Connection(const Request& request, size_t pipeline)
    : request_(&request), pipeline_(pipeline), answers_(pipeline) {
  frames_.reserve(pipeline * request.bytes());
  for (size_t i = 0; i < pipeline; i++) {
    frames_.insert(frames_.end(), request.data(), request.data() + request.bytes());
  }
}

void Connection::open(int fd) {
  fd_ = fd;
  queued_ = received_ = answered_ = 0;
  sent_bytes_ = received_bytes_ = 0;
  reply_header_bytes_ = reply_left_ = 0;
}

void Connection::close() {
  ::close(fd_);
  fd_ = -1;
}

void Connection::queue(int64_t started_ns, uint32_t number, bool is_marked) {
  request_->number(frameAt(queued_), number, is_marked);
  answers_[queued_ % pipeline_] = {started_ns, is_marked};
  queued_++;
}

void Connection::flush() {
  const uint64_t end = queued_ * request_->bytes();
  while (sent_bytes_ < end) {
    // What is queued is in one piece, or in two where it wraps around.
    const size_t from = sent_bytes_ % frames_.size();
    const size_t size = std::min<uint64_t>(end - sent_bytes_, frames_.size() - from);
    const ssize_t count = send(fd_, frames_.data() + from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) failWithErrno("send");
    sent_bytes_ += static_cast<uint64_t>(count);
  }
}

size_t Connection::receive(std::vector<char>& scratch) {
  size_t complete = 0;
  while (true) {
    const ssize_t count = recv(fd_, scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return complete;
    if (count < 0) failWithErrno("recv");
    if (count == 0) fail("the server closed a connection with %zu requests under way", underWay());
    const auto bytes = static_cast<size_t>(count);
    complete +=
        request_->isEchoed() ? takeEchoed(scratch.data(), bytes) : takeKafka(scratch.data(), bytes);
    // A short read has emptied the kernel's buffer; what comes later is another edge.
    if (bytes < scratch.size()) return complete;
  }
}

Answer Connection::takeAnswer() { return answers_[answered_++ % pipeline_]; }

size_t Connection::takeEchoed(const char* bytes, size_t count) {
  const uint64_t expected = queued_ * request_->bytes() - received_bytes_;
  if (count > expected) fail("%zu bytes came where %zu were due", count, size_t{expected});
  size_t done = 0;
  while (done < count) {
    const size_t from = received_bytes_ % frames_.size();
    const size_t size = std::min(count - done, frames_.size() - from);
    if (std::memcmp(bytes + done, frames_.data() + from, size) != 0) {
      fail("a reply differs from its request, in the %zu bytes from byte %zu of the connection on",
           size, size_t{received_bytes_});
    }
    received_bytes_ += size;
    done += size;
  }
  const uint64_t before = received_;
  received_ = received_bytes_ / request_->bytes();
  return received_ - before;
}

size_t Connection::takeKafka(const char* bytes, size_t count) {
  size_t complete = 0;
  for (size_t done = 0; done < count;) {
    if (reply_header_bytes_ < sizeof(reply_header_)) {
      if (takeKafkaHeader(bytes[done++]) && reply_left_ > 0) continue;
    } else {
      const size_t size = std::min(count - done, reply_left_);
      reply_left_ -= size;
      done += size;
    }
    if (reply_header_bytes_ == sizeof(reply_header_) && reply_left_ == 0) {
      reply_header_bytes_ = 0;
      received_++;
      complete++;
    }
  }
  return complete;
}

// True when the header is whole; then it is the right one.
bool Connection::takeKafkaHeader(char byte) {
  reply_header_[reply_header_bytes_++] = byte;
  if (reply_header_bytes_ < sizeof(reply_header_)) return false;
  uint32_t words[2];
  std::memcpy(words, reply_header_, sizeof(words));
  const uint32_t length = ntohl(words[0]);
  const uint32_t correlation_id = ntohl(words[1]);
  if (received_ == queued_) fail("a reply came where none was due");
  const uint32_t expected = request_->numberOf(frameAt(received_));
  if (correlation_id != expected) {
    fail("a reply has the correlation id %u instead of %u", correlation_id, expected);
  }
  const size_t reply_bytes = kPrefixBytes + length;
  const bool is_right = request_->replyBytes() == 0 || reply_bytes == request_->replyBytes();
  if (length < sizeof(correlation_id) || !is_right) {
    fail("a reply has %zu bytes; %zu were due", reply_bytes, request_->replyBytes());
  }
  reply_left_ = length - sizeof(correlation_id);
  return true;
}

}  // namespace odradek::bench
