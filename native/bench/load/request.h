// What the generator sends, again and again: an echoed frame or a Kafka request. Both have a 4-byte
// big-endian length in front and carry a number, so that each reply can be told from every other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace odradek::bench {

constexpr size_t kPrefixBytes = 4;

class Request {
 public:
  // A frame that must come back as it went: a mark, a number, and bytes that differ by position.
  static Request echoed(size_t body_bytes);
  // Any request in Kafka's format. Its reply begins with the request's correlation id.
  static Request kafka(std::string frame, size_t reply_bytes);

  bool isEchoed() const { return is_echoed_; }
  size_t bytes() const { return frame_.size(); }
  const char* data() const { return frame_.data(); }
  // 0: any.
  size_t replyBytes() const { return reply_bytes_; }

  // Writes the number, and the mark, into a frame made from `data`.
  void number(char* frame, uint32_t number, bool is_marked) const;
  uint32_t numberOf(const char* frame) const;

 private:
  Request(std::string frame, size_t number_at, bool is_echoed, size_t reply_bytes);

  std::string frame_;
  size_t number_at_;
  bool is_echoed_;
  size_t reply_bytes_;
};

}  // namespace odradek::bench
