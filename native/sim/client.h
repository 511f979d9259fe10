// One connection seen from its client, and the model of what the contract promises it: which
// requests arrive, in which order, what it must be answered, and why it may be closed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../core/request.h"
#include "stage.h"

namespace odradek::sim {

class Client {
 public:
  Client(Stage& stage, uint32_t number, uint32_t listener, test::FakeConnection& socket);

  // One thing that a client does, chosen by the seed.
  void act();
  // No more faults: sends what it still has to and reads everything.
  void finish();
  // Sends most of a frame, or takes nothing of its reply.
  void stall();
  // Finishes the stream, and the connection with it.
  void end();

  // --- The handlers tell the model ---------------------------------------------------------------

  // A request of this connection was claimed: it must be the next of the stream.
  void delivered(const Request& request);
  // A body is still what it was.
  void checkBody(const Request& request, size_t at) const;
  // Bytes were given to the core, to leave after everything given before.
  void replied(std::string_view bytes) {
    noteGiven();
    expected_ += bytes;
    noteSilence();
  }
  // The same, of bytes that answer no request: a drain doesn't wait for them.
  void greeted(std::string_view bytes) {
    noteGiven();
    expected_ += bytes;
    greeting_ = expected_.size();
    noteSilence();
  }
  // It is throttled before what was given last: read on at that moment at the earliest.
  void throttled(int64_t until_ns);
  // The service changes the framing, as the client knows; `count` requests of `bytes` that were
  // delivered by the old one come again, cut by the new one.
  void reframed(size_t bytes, uint32_t count);
  // `is_stopped`: the server was stopped, or the processor lost, before.
  void closed(const Event& event, uint32_t unanswered, bool is_stopped);

  // --- The kernel tells the model ----------------------------------------------------------------

  // A system call failed in a way that ends the connection.
  void hasFailed() { was_failed_ = true; }
  void serverWrote(size_t bytes);
  void serverWasBlocked() { was_blocked_ = true; }
  // What is there was not read, since the kernel said that there is nothing.
  void serverWasPutOff() { was_put_off_ = true; }
  void serverRead(size_t bytes) {
    if (shut_at_ns_ != 0) discarded_ += bytes;
  }
  void serverClosed();
  void serverShut() { shut_at_ns_ = stage_.kernel.clock.now(); }

  // What its listener still has is cut.
  void cut() { was_cut_ = true; }
  bool wasCut() const { return was_cut_; }
  // The server is told to drain: throttles end.
  void drainAsked() { was_drained_ = true; }
  // The server is told to stop: what was given until now still leaves if the kernel takes it.
  void stopAsked() {
    if (!was_closed_) owed_at_stop_ = expected_.size();
  }

  // --- Questions ---------------------------------------------------------------------------------

  uint32_t number() const { return number_; }
  uint32_t listener() const { return listener_; }
  test::FakeConnection& socket() const { return socket_; }
  // Where the next request to be delivered begins in the stream.
  size_t deliveredBytes() const { return delivered_bytes_; }
  size_t writtenBytes() const { return written_; }
  size_t expectedBytes() const { return expected_.size(); }
  // This request is the one at which the framing changes.
  bool isSwitch(size_t end_of_request) const {
    return !has_switched_ && switch_frame_ < frames_.size() &&
           frames_[switch_frame_].end == end_of_request;
  }
  const Framing& nextFraming() const { return second_framing_; }
  bool isWithoutFaults() const {
    // Who took nothing for too long was cut off, whatever else closed the connection.
    const bool may_owe = was_blocked_ || reason_ == CloseReason::kTooManyUnsentBytes;
    const bool was_cut_off = (stage_.plan.timeouts.forRoom().timeout_ns > 0 && was_blocked_) ||
                             (stage_.plan.unsent_bytes != kUnlimitedBytes && may_owe);
    return !was_failed_ && !did_reset_ && !is_gone_ && !was_cut_off && !was_cut_;
  }
  bool mayAct() const { return !did_reset_ && !is_gone_; }
  // Nothing that the server still owes: everything framed was delivered, every reply was read.
  void checkNothingWaits() const;
  // Nothing has happened for so long that whoever was awaited was waited for too long.
  void checkSlowHaveEnded() const;
  // What it saw of an orderly end.
  void checkOrderlyEnd() const;
  void checkGivenBeforeStop() const;

 private:
  struct Frame {
    size_t end = 0;  // in the stream
    size_t body_bytes = 0;
  };

  // Of the next frame to be made, and of the next to be delivered.
  const Framing& framing() const {
    return frames_.size() > switch_frame_ ? second_framing_ : first_framing_;
  }
  bool isRaw() const { return framing().kind == Framing::Kind::kRaw; }
  void makeFrames();
  void makeFrame(size_t body_bytes);
  void breakFraming();
  void send();
  void sendUpTo(size_t bytes);
  void take(size_t most);
  bool isWithinFrame() const;
  size_t frameAt(size_t byte) const;
  bool isHalfSent() const;
  int64_t halfSentFor() const;
  size_t halfSentBytes() const;
  void noteHalf();
  void noteGiven();
  void noteSilence();
  int64_t now() const { return stage_.kernel.clock.now(); }
  bool explains(const Event& event);

  Stage& stage_;
  const uint32_t number_;
  const uint32_t listener_;
  test::FakeConnection& socket_;
  const Framing first_framing_;
  // What follows the frame with this index is cut by another framing.
  Framing second_framing_;
  size_t switch_frame_ = SIZE_MAX;
  bool has_switched_ = false;

  // All bytes that this client will ever send; the first sent_ have been sent.
  std::string stream_;
  size_t sent_ = 0;
  std::vector<Frame> frames_;
  // The frames end here and what follows breaks the framing.
  size_t broken_at_ = std::string::npos;
  bool reads_ = true;
  bool has_ended_ = false;
  bool is_gone_ = false;
  bool did_reset_ = false;

  size_t delivered_bytes_ = 0;
  size_t delivered_frames_ = 0;
  uint32_t next_sequence_ = 0;

  std::string expected_;
  size_t greeting_ = 0;
  size_t received_ = 0;
  size_t written_ = 0;
  bool was_blocked_ = false;  // the kernel once took less than was given
  size_t owed_at_stop_ = 0;

  bool was_put_off_ = false;
  bool was_failed_ = false;
  bool was_closed_ = false;
  bool was_stopped_ = false;
  bool was_cut_ = false;
  bool was_drained_ = false;
  CloseReason reason_ = CloseReason::kNone;
  int64_t shut_at_ns_ = 0;
  size_t sent_after_shut_ = 0;
  size_t discarded_ = 0;
  // Of the last throttle: behind so many written bytes it has begun, at this moment; and its end.
  size_t throttle_mark_ = SIZE_MAX;
  int64_t throttle_begun_ns_ = INT64_MAX;
  int64_t throttle_until_ns_ = 0;
  // When something was last sent, or a reply given; and the longest time without.
  int64_t quiet_since_ns_;
  int64_t longest_silence_ns_ = 0;
  // When the first byte of a frame was sent whose last was not; and the longest that it took.
  int64_t half_since_ns_ = 0;
  int64_t longest_half_ns_ = 0;
  // The most that it was behind its rate then.
  int64_t most_behind_ns_ = 0;
  // Up to when it has paid for what waits to be sent, at its rate.
  int64_t paid_until_ns_ = 0;
  bool has_outstayed_ = false;  // the server's time for discarding was over
};

}  // namespace odradek::sim
