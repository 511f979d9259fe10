// The tables of one JavaScript thread, and what crosses by them: claimed requests and events one
// way, commands the other. Belongs to that thread.
#pragma once

#include <node_api.h>

#include <vector>

#include "../core/consumer.h"
#include "../core/request.h"
#include "js.h"
#include "large_frames.h"

namespace odradek {

class Tables {
 public:
  // `now`: performance.now() of this thread, as a function.
  Tables(napi_env env, napi_value now);
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;
  ~Tables();

  // False: the environment is ending, or these are no such tables.
  bool open(napi_value tables);

  // Claimed requests that were not written yet come first; else these are to be filled. Each has
  // a reference to its block. Tickets only where there is a pool.
  bool isWritten() const { return next_claimed_ == claimed_.size(); }
  std::vector<Request>& refill();
  std::vector<uint32_t>& tickets() { return tickets_; }
  void dropClaimed();

  // Writes claimed requests, their small frames into `slab` from `used` on, large ones into
  // `larges`. Returns how many. `more`: others are left to be claimed; `events`: some wait.
  uint32_t write(napi_value slab, napi_value used, napi_value larges, bool more);
  void setEvents(bool wait);
  void setTimeoutMs(uint32_t timeout_ms);

  // Every event since the last call, oldest first.
  napi_value takeEvents(Consumer& consumer);

  // One copy of a turn's small replies, null where there are none; each command refers to its part.
  Block* takeReplies(uint32_t bytes) const;
  Command readCommand(uint32_t index, Block* slab, napi_value larges, napi_value framings);

  // The memory of a large frame that JavaScript has only borrowed.
  void takeBack(napi_value buffer) { large_frames_->takeBack(env_, buffer); }

  // A moment of the Clock on the scale of performance.now().
  double toMs(int64_t ns) const { return (static_cast<double>(ns) - epoch_ns_) / 1e6; }

  // By ticket: not 0 if the request was started. Null where there is no pool.
  uint8_t* marks() { return marks_; }
  uint32_t markCount() const { return mark_count_; }

 private:
  int64_t toNs(double ms) const { return static_cast<int64_t>(ms * 1e6 + epoch_ns_); }
  bool writeRequest(size_t claimed, uint32_t index, napi_value larges);
  napi_value largeFrame(const Request& request);
  napi_value eventObject(const Event& event);
  static Command refused(Command command);
  bool takePart(napi_value part, Command* command);

  napi_env env_;
  // Maps Clock nanoseconds to milliseconds of performance.now().
  double epoch_ns_ = 0;

  // Memory that JavaScript made and that this keeps alive.
  napi_ref tables_ = nullptr;
  uint32_t* request_table_ = nullptr;
  double* time_table_ = nullptr;
  uint32_t* ticket_table_ = nullptr;
  uint8_t* marks_ = nullptr;
  uint32_t mark_count_ = 0;
  uint32_t* status_ = nullptr;
  uint32_t* command_table_ = nullptr;
  double* answer_table_ = nullptr;
  std::byte* reply_slab_ = nullptr;

  std::vector<Request> claimed_;
  std::vector<uint32_t> tickets_;
  size_t next_claimed_ = 0;
  uint32_t slab_used_ = 0;
  std::byte* slab_ = nullptr;
  uint32_t slab_bytes_ = 0;
  uint32_t larges_ = 0;

  LargeFrames* large_frames_ = LargeFrames::make();
};

}  // namespace odradek
