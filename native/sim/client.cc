#include "client.h"

#include <algorithm>

#include "../core/bounds.h"
#include "letters.h"

namespace odradek::sim {
namespace {

// A client makes no more frames while it has so much to send.
constexpr size_t kMostBacklog = 400'000;

void appendLength(std::string& stream, const Framing& framing, uint64_t length) {
  stream.append(framing.offset, 'o');
  for (uint32_t i = 0; i < framing.size_bytes; i++) {
    const uint32_t shift = 8 * (framing.big_endian ? framing.size_bytes - 1 - i : i);
    stream += static_cast<char>(length >> shift);
  }
}

void appendVarint(std::string& stream, uint64_t length) {
  for (; length >= 0x80; length >>= 7) stream += static_cast<char>(length | 0x80);
  stream += static_cast<char>(length);
}

}  // namespace

Client::Client(Stage& stage, uint32_t number, uint32_t listener, test::FakeConnection& socket)
    : stage_(stage),
      number_(number),
      listener_(listener),
      socket_(socket),
      first_framing_(stage.plan.framings[listener]),
      second_framing_(
          stage.plan
              .framings[stage.random.below(static_cast<uint32_t>(stage.plan.framings.size()))]),
      quiet_since_ns_(stage.kernel.clock.now()) {
  const bool may_switch = first_framing_.kind != Framing::Kind::kRaw;
  if (stage.plan.negotiates && may_switch && stage.random.chance(500)) {
    switch_frame_ = stage.random.below(4);
  }
}

// --- What it does ------------------------------------------------------------------------------

void Client::act() {
  // At a rate, slow readers differ from such as don't read.
  const bool may_sip = !reads_ && stage_.plan.timeouts.min_write_rate > 0;
  if (may_sip && stage_.random.chance(400)) return take(1 + stage_.random.below(300));
  if (!reads_ && stage_.random.chance(100)) {
    reads_ = true;
    socket_.setWindow(256 * 1024);
  }
  if (stage_.strikes(Fault::kClientReset)) {
    stage_.trace.note("client %u resets", number_);
    did_reset_ = true;
    return socket_.reset();
  }
  if (stage_.strikes(Fault::kClientGone)) {
    stage_.trace.note("client %u closes", number_);
    is_gone_ = true;
    return socket_.close();
  }
  if (reads_ && stage_.strikes(Fault::kStopsReading)) {
    stage_.trace.note("client %u stops reading", number_);
    reads_ = false;
    // A socket with nothing to send takes at least a byte.
    return socket_.setWindow(1 + stage_.random.below(2000));
  }
  if (!has_ended_ && stage_.strikes(Fault::kHalfClose)) return end();
  if (!has_ended_ && stage_.strikes(Fault::kBrokenFrame)) return breakFraming();
  switch (stage_.random.below(5)) {
    case 0:
    case 1:
      return makeFrames();
    case 2:
    case 3:
      return send();
    default:
      break;
  }
  const bool takes_all = !stage_.random.chance(300);
  const size_t most = takes_all ? std::string::npos : stage_.random.below(500);
  if (reads_) take(most);
}

void Client::makeFrames() {
  if (has_ended_ || broken_at_ != std::string::npos) return;
  if (stream_.size() - sent_ > kMostBacklog) return;
  const uint32_t count = stage_.random.pick<uint32_t>({1, 1, 1, 2, 5, 20, 70});
  for (uint32_t i = 0; i < count; i++) {
    size_t bytes = stage_.random.below(40);
    if (stage_.random.chance(150)) bytes = stage_.random.below(300);
    if (stage_.random.chance(15)) bytes = stage_.random.below(200'000);
    makeFrame(std::min<size_t>(bytes, framing().max_frame_bytes));
  }
  if (stage_.random.chance(500)) send();
}

void Client::makeFrame(size_t body_bytes) {
  const Framing& framing = this->framing();
  if (isRaw()) body_bytes++;
  const size_t begin = stream_.size();
  if (framing.kind == Framing::Kind::kLengthPrefixed) appendLength(stream_, framing, body_bytes);
  if (framing.kind == Framing::Kind::kVarintPrefixed) appendVarint(stream_, body_bytes);
  const auto place = static_cast<uint32_t>(number_ * 2'654'435'761u + begin);
  appendLetters(stream_, body_bytes, place, 'a');
  size_t body = body_bytes;
  if (framing.kind == Framing::Kind::kLengthPrefixed && framing.strip == 0) {
    body = stream_.size() - begin;
  }
  if (framing.kind == Framing::Kind::kDelimited) {
    stream_ += "\r\n";
    if (!framing.strip_delimiter) body += 2;
  }
  frames_.push_back({stream_.size(), body});
}

void Client::breakFraming() {
  const Framing& framing = this->framing();
  if (isRaw() || broken_at_ != std::string::npos) return;
  stage_.trace.note("client %u will break its framing", number_);
  broken_at_ = stream_.size();
  const uint64_t too_large = uint64_t{framing.max_frame_bytes} + 1;
  const bool is_signed = framing.size_bytes >= 4;
  switch (framing.kind) {
    case Framing::Kind::kLengthPrefixed:
      appendLength(stream_, framing,
                   is_signed && stage_.random.chance(500) ? UINT64_MAX : too_large);
      break;
    case Framing::Kind::kVarintPrefixed:
      if (stage_.random.chance(500)) {
        appendVarint(stream_, too_large);
      } else {
        stream_.append(6, '\xff');
      }
      break;
    default:
      stream_.append(too_large + 1, 'x');
      break;
  }
  stream_.append(stage_.random.below(20), 'z');
}

void Client::send() {
  const size_t left = stream_.size() - sent_;
  if (left == 0) return;
  size_t bytes = left;
  if (stage_.strikes(Fault::kDribble)) {
    bytes = std::min<size_t>(left, 1 + stage_.random.below(5));
  } else if (stage_.random.chance(300)) {
    bytes = 1 + stage_.random.below(static_cast<uint32_t>(left));
  }
  sendUpTo(sent_ + bytes);
}

void Client::sendUpTo(size_t bytes) {
  if (bytes <= sent_) return;
  stage_.trace.note("client %u sends %zu bytes", number_, bytes - sent_);
  const std::string_view piece = std::string_view(stream_).substr(sent_, bytes - sent_);
  if (shut_at_ns_ != 0) sent_after_shut_ += piece.size();
  noteSilence();
  noteHalf();
  if (stage_.strikes(Fault::kUrgent)) {
    socket_.sendUrgent(piece);
  } else {
    socket_.send(piece);
  }
  const bool goes_on = isHalfSent() && frameAt(sent_) == frameAt(bytes - 1);
  sent_ = bytes;
  if (isHalfSent() && !goes_on) half_since_ns_ = now();
}

// The number of the frame that has this byte of the stream.
size_t Client::frameAt(size_t byte) const {
  const auto frame = std::ranges::upper_bound(frames_, byte, {}, &Frame::end);
  return static_cast<size_t>(frame - frames_.begin());
}

int64_t Client::halfSentFor() const { return isHalfSent() ? now() - half_since_ns_ : 0; }

size_t Client::halfSentBytes() const {
  const size_t frame = frameAt(sent_);
  return sent_ - (frame == 0 ? 0 : frames_[frame - 1].end);
}

void Client::noteHalf() {
  const int64_t half_ns = halfSentFor();
  longest_half_ns_ = std::max(longest_half_ns_, half_ns);
  const int64_t rate = stage_.plan.timeouts.min_read_rate;
  if (half_ns == 0 || rate == 0) return;
  most_behind_ns_ = std::max(most_behind_ns_, half_ns - Timeouts::worth(halfSentBytes(), rate));
}

void Client::noteGiven() {
  if (written_ == expected_.size()) paid_until_ns_ = now();
}

// Sends up to the end of a frame, or further, and ends its side of the connection.
void Client::end() {
  if (has_ended_ || !mayAct()) return;
  size_t until = sent_;
  if (broken_at_ != std::string::npos) {
    until = stream_.size();
  } else {
    for (const Frame& frame : frames_) {
      if (frame.end < sent_) continue;
      until = frame.end;
      break;
    }
    if (until < stream_.size() && stage_.strikes(Fault::kTruncatedFrame)) {
      until += stage_.random.below(static_cast<uint32_t>(stream_.size() - until));
    }
  }
  sendUpTo(until);
  stream_.resize(sent_);
  while (!frames_.empty() && frames_.back().end > sent_) frames_.pop_back();
  stage_.trace.note("client %u ends", number_);
  has_ended_ = true;
  socket_.end();
}

void Client::take(size_t most) {
  const std::string taken = socket_.take(most);
  if (taken.empty()) return;
  stage_.trace.note("client %u reads %zu bytes", number_, taken.size());
  SIM_CHECK(stage_.trace, "replies-in-order",
            expected_.compare(received_, taken.size(), taken) == 0,
            "client %u got at byte %zu '%.60s' instead of '%.60s'", number_, received_,
            taken.c_str(), expected_.substr(std::min(received_, expected_.size()), 60).c_str());
  received_ += taken.size();
}

void Client::finish() {
  if (!mayAct()) return;
  reads_ = true;
  socket_.setWindow(1 << 30);
  sendUpTo(stream_.size());
  take(std::string::npos);
}

void Client::stall() {
  if (!mayAct() || has_ended_ || was_closed_ || broken_at_ != std::string::npos) return;
  stage_.trace.note("client %u stalls", number_);
  makeFrame(40);
  if (stage_.random.chance(500)) return sendUpTo(stream_.size() - 1);
  reads_ = false;
  socket_.setWindow(1);
  sendUpTo(stream_.size());
}

// --- What it must see --------------------------------------------------------------------------

void Client::delivered(const Request& request) {
  const auto* bytes = reinterpret_cast<const char*>(request.block->data() + request.offset);
  const std::string_view frame(bytes, request.frame_bytes);
  const bool is_next = delivered_bytes_ + frame.size() <= sent_ &&
                       std::string_view(stream_).substr(delivered_bytes_, frame.size()) == frame;
  SIM_CHECK(stage_.trace, "requests-in-order", is_next && request.sequence == next_sequence_,
            "client %u: %zu bytes at %zu are not its next request (sequence %u, expected %u)",
            number_, frame.size(), delivered_bytes_, request.sequence, next_sequence_);
  const bool is_early =
      request.received_at_ns > throttle_begun_ns_ && request.received_at_ns < throttle_until_ns_;
  SIM_CHECK(stage_.trace, "throttle-holds", !is_early || was_drained_,
            "client %u: request %u was received %lld ns before its throttle had ended", number_,
            request.sequence, static_cast<long long>(throttle_until_ns_ - request.received_at_ns));
  next_sequence_++;
  delivered_bytes_ += frame.size();
  // Behind the switch, what was cut by the old framing is no frame of the client's.
  const bool is_provisional = delivered_frames_ > switch_frame_ && !has_switched_;
  const Framing& framing = delivered_frames_ > switch_frame_ ? second_framing_ : first_framing_;
  if (is_provisional || framing.kind == Framing::Kind::kRaw) return;
  const bool is_frame =
      delivered_frames_ < frames_.size() && frames_[delivered_frames_].end == delivered_bytes_ &&
      frames_[delivered_frames_].body_bytes == request.body_end - request.body_begin;
  SIM_CHECK(stage_.trace, "frames-as-sent", is_frame,
            "client %u: what ends at byte %zu is not its frame %zu", number_, delivered_bytes_,
            delivered_frames_);
  delivered_frames_++;
}

void Client::checkBody(const Request& request, size_t at) const {
  const auto* bytes = reinterpret_cast<const char*>(request.block->data() + request.offset);
  SIM_CHECK(stage_.trace, "body-intact",
            stream_.compare(at, request.frame_bytes, bytes, request.frame_bytes) == 0,
            "client %u: the request at byte %zu has changed in the handler's hands", number_, at);
}

void Client::throttled(int64_t until_ns) {
  if (now() >= throttle_until_ns_) throttle_begun_ns_ = INT64_MAX;
  throttle_mark_ = expected_.size();
  throttle_until_ns_ = std::max(throttle_until_ns_, until_ns);
}

void Client::serverWrote(size_t bytes) {
  written_ += bytes;
  if (const int64_t rate = stage_.plan.timeouts.min_write_rate; rate > 0) {
    paid_until_ns_ = std::min(paid_until_ns_ + Timeouts::worth(bytes, rate), now());
  }
  if (written_ < throttle_mark_) return;
  throttle_mark_ = SIZE_MAX;
  throttle_begun_ns_ = std::min(throttle_begun_ns_, now());
}

void Client::reframed(size_t bytes, uint32_t count) {
  has_switched_ = true;
  delivered_bytes_ -= bytes;
  next_sequence_ -= count;
}

void Client::serverClosed() {
  has_outstayed_ = shut_at_ns_ != 0 && stage_.kernel.clock.now() - shut_at_ns_ >= kLingerNs;
}

bool Client::isHalfSent() const {
  return !isRaw() && sent_ > 0 && frameAt(sent_ - 1) == frameAt(sent_);
}

void Client::noteSilence() {
  longest_silence_ns_ = std::max(longest_silence_ns_, now() - quiet_since_ns_);
  quiet_since_ns_ = now();
}

bool Client::isWithinFrame() const {
  if (isRaw() || broken_at_ != std::string::npos) return false;
  return sent_ != (frames_.empty() ? 0 : frames_.back().end);
}

// Whether anything happened on this connection that explains its end.
bool Client::explains(const Event& event) {
  noteHalf();
  const bool is_over = has_ended_ || is_gone_;
  const Timeouts timeouts = stage_.plan.leastTimeouts();
  switch (event.reason) {
    case CloseReason::kPeerClosed:
      return is_over && (!isWithinFrame() || is_gone_);
    case CloseReason::kTruncatedFrame:
      return is_over && (isWithinFrame() || is_gone_ || broken_at_ != std::string::npos);
    case CloseReason::kPeerReset:
      return did_reset_ || is_gone_ || was_failed_;
    case CloseReason::kIoError:
      return was_failed_;
    case CloseReason::kIdleTimeout:
      return timeouts.idle_ns > 0 && event.count == 0 &&
             std::max(longest_silence_ns_, now() - quiet_since_ns_) >= timeouts.idle_ns;
    case CloseReason::kFrameTimeout:
      return timeouts.frame_ns > 0 && event.count == 0 &&
             (longest_half_ns_ >= timeouts.frame_ns || switch_frame_ != SIZE_MAX || was_put_off_);
    case CloseReason::kReadTooSlow:
      return timeouts.min_read_rate > 0 && event.count == 0 &&
             (most_behind_ns_ >= timeouts.grace_ns || switch_frame_ != SIZE_MAX || was_put_off_);
    case CloseReason::kWriteTimeout:
      return timeouts.write_ns > 0 && timeouts.min_write_rate == 0 && was_blocked_;
    case CloseReason::kWriteTooSlow:
      return timeouts.min_write_rate > 0 && was_blocked_ &&
             now() - paid_until_ns_ >= timeouts.forRoom().timeout_ns;
    case CloseReason::kTooManyUnsentBytes:
      return stage_.plan.unsent_bytes != kUnlimitedBytes;
    case CloseReason::kTooManyConnections:
      return stage_.plan.connections.max_connections != kUnlimited || stage_.plan.limit_changes > 0;
    case CloseReason::kFrameTooLarge:
    case CloseReason::kFrameLengthInvalid:
    case CloseReason::kFrameInvalid:
      return broken_at_ != std::string::npos;
    default:
      return true;  // the service's reasons: Handlers knows them
  }
}

void Client::closed(const Event& event, uint32_t unanswered, bool is_stopped) {
  SIM_CHECK(stage_.trace, "one-end", !was_closed_, "client %u: a second closed event", number_);
  was_closed_ = true;
  reason_ = event.reason;
  SIM_CHECK(stage_.trace, "reason-has-cause", explains(event),
            "client %u: closed for reason %d, which nothing explains", number_,
            static_cast<int>(event.reason));
  was_stopped_ = is_stopped;
  if (!isWithoutFaults() || is_stopped) return;
  // Requests withdrawn from a connection that was closing already are among the unanswered.
  const bool may_be_withdrawn =
      event.reason == CloseReason::kOutOfMemory || event.reason == CloseReason::kTooManyConnections;
  if (may_be_withdrawn && has_switched_) return;
  SIM_CHECK(stage_.trace, "unanswered-counted", event.count == unanswered,
            "client %u: %u requests reported unanswered, %u were", number_, event.count,
            unanswered);
}

void Client::checkNothingWaits() const {
  if (!isWithoutFaults() || was_closed_) return;
  const bool is_closing = has_ended_ || broken_at_ != std::string::npos;
  SIM_CHECK(stage_.trace, "nothing-waits", !is_closing,
            "client %u has ended or broken its stream, and is still open", number_);
  const size_t framed = frames_.empty() ? 0 : frames_.back().end;
  SIM_CHECK(stage_.trace, "nothing-waits", delivered_bytes_ == framed,
            "client %u: %zu of %zu bytes were delivered", number_, delivered_bytes_, framed);
  SIM_CHECK(stage_.trace, "nothing-waits", received_ == expected_.size(),
            "client %u: %zu of %zu reply bytes have arrived", number_, received_, expected_.size());
  SIM_CHECK(stage_.trace, "idle-ends", stage_.plan.timeouts.idle_ns == 0,
            "client %u is idle, and still open", number_);
}

void Client::checkSlowHaveEnded() const {
  if (!isWithoutFaults() || was_closed_) return;
  const Timeouts& timeouts = stage_.plan.timeouts;
  const bool is_given = written_ == expected_.size();
  SIM_CHECK(stage_.trace, "slow-ends", is_given || timeouts.min_write_rate == 0,
            "client %u has taken %zu of %zu reply bytes, and is still open", number_, written_,
            expected_.size());
  const bool is_awaited = is_given && isHalfSent() && !has_ended_ && switch_frame_ == SIZE_MAX &&
                          broken_at_ == std::string::npos && socket_.unreadByServer() == 0 &&
                          delivered_bytes_ == sent_ - halfSentBytes();
  SIM_CHECK(stage_.trace, "slow-ends", !is_awaited || timeouts.min_read_rate == 0,
            "client %u has sent %zu bytes of a frame, and is still open", number_, halfSentBytes());
}

void Client::checkOrderlyEnd() const {
  if (!isWithoutFaults() || !was_closed_ || was_stopped_) return;
  // It sent on after the server's goodbye, or more than the server discards in its time.
  const bool outlived = sent_after_shut_ > 0 || discarded_ >= kLingerBytes || has_outstayed_;
  SIM_CHECK(stage_.trace, "orderly-end", outlived || !socket_.sawReset(),
            "client %u: an orderly close reached it as a reset", number_);
  if (socket_.sawReset()) return;
  // Drained, with its listener or the server, or one too many, while onConnect was still deciding.
  const bool may_come_early = reason_ == CloseReason::kServerClosed ||
                              reason_ == CloseReason::kListenerRemoved ||
                              reason_ == CloseReason::kTooManyConnections;
  if (may_come_early && received_ == 0 && expected_.size() == greeting_) return;
  SIM_CHECK(stage_.trace, "orderly-end", received_ == expected_.size() && socket_.sawEnd(),
            "client %u: the connection ended after %zu of %zu reply bytes", number_, received_,
            expected_.size());
}

void Client::checkGivenBeforeStop() const {
  if (!isWithoutFaults() || was_blocked_ || greeting_ > 0) return;
  SIM_CHECK(stage_.trace, "given-before-stop", written_ >= owed_at_stop_,
            "client %u: %zu reply bytes were given before the stop, %zu have left", number_,
            owed_at_stop_, written_);
}

}  // namespace odradek::sim
