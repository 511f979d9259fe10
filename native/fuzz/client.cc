#include "client.h"

#include <utility>

#include "input.h"

namespace odradek::fuzz {

// --- The client acts -----------------------------------------------------------------------------

void Client::send(std::string_view bytes, bool is_urgent) {
  if (has_ended || is_gone || bytes.empty()) return;
  sent += bytes;
  if (is_urgent) {
    connection.sendUrgent(bytes);
  } else {
    connection.send(bytes);
  }
}

void Client::end() {
  has_ended = true;
  connection.end();
}

void Client::close() {
  has_ended = true;
  is_gone = true;
  connection.close();
}

void Client::reset() {
  has_ended = true;
  is_gone = true;
  connection.reset();
}

void Client::take(size_t most) {
  const std::string bytes = connection.take(most);
  FUZZ_CHECK(replies.compare(seen, bytes.size(), bytes) == 0);
  seen += bytes.size();
}

// --- The server delivers -------------------------------------------------------------------------

void Client::opened(const ChannelId& channel) {
  FUZZ_CHECK(!id.has_value());
  id = channel;
}

// The frames of a connection are its stream, in order and without a gap, and each is one that
// cutFrame finds there.
void Client::claimed(const test::Taken& request) {
  FUZZ_CHECK(isOpen());
  FUZZ_CHECK(request.sequence == next_sequence);
  FUZZ_CHECK(!waits_for_accept || was_accepted);
  FUZZ_CHECK(sent.compare(framed_bytes, request.frame.size(), request.frame) == 0);
  if (framing.kind == Framing::Kind::kRaw) {
    FUZZ_CHECK(request.frame.size() <= framing.max_frame_bytes);
    FUZZ_CHECK(request.body == request.frame);
  } else {
    const Cut found = nextCut();
    FUZZ_CHECK(found.kind == Cut::Kind::kFrame);
    FUZZ_CHECK(found.frame_bytes == request.frame.size());
    const auto body = request.frame.substr(found.body_begin, found.body_end - found.body_begin);
    FUZZ_CHECK(body == request.body);
  }
  next_sequence++;
  framed_bytes += request.frame.size();
  in_work.push_back(request);
}

void Client::reported(const Event& event) {
  FUZZ_CHECK(isOpen());
  switch (event.kind) {
    case Event::Kind::kSent:
      // Once each; a reply behind a close is settled before those that still leave.
      FUZZ_CHECK(std::erase(awaited, event.count) == 1);
      break;
    case Event::Kind::kReset:
      FUZZ_CHECK(!std::exchange(was_reset_reported, true));
      break;
    case Event::Kind::kClosed:
      FUZZ_CHECK(!connection.isOpen());
      closed = event;
      break;
    default:
      FUZZ_CHECK(false);
  }
}

// --- The service answers -------------------------------------------------------------------------

void Client::answered(size_t count) {
  settled += count;
  in_work.erase(in_work.begin(), in_work.begin() + static_cast<ptrdiff_t>(count));
}

std::string Client::withdraw(size_t count) {
  std::string bytes;
  for (size_t i = in_work.size() - count; i < in_work.size(); i++) bytes += in_work[i].frame;
  in_work.erase(in_work.end() - static_cast<ptrdiff_t>(count), in_work.end());
  next_sequence -= static_cast<uint32_t>(count);
  framed_bytes -= bytes.size();
  withdrawn += count;
  return bytes;
}

// --- What must hold ------------------------------------------------------------------------------

Cut Client::nextCut() const { return cut(framing, std::string_view(sent).substr(framed_bytes)); }

// Nothing went wrong with the socket, and nothing cut the connection short.
bool Client::isWhole() const {
  return !is_gone && !has_broken_socket && !close_asked && !connection.sawReset();
}

void Client::checkAtRest(const Server& server) const {
  if (!id.has_value()) return;
  const bool must_end = has_ended || close_asked || reply_and_close_asked || server.has_drained;
  if (must_end) FUZZ_CHECK(closed.has_value());
  if (closed.has_value()) return;
  FUZZ_CHECK(connection.isOpen());
  FUZZ_CHECK(connection.unreadByServer() == 0);
  FUZZ_CHECK(in_work.empty() && awaited.empty());
  FUZZ_CHECK(seen == replies.size());
  FUZZ_CHECK(nextCut().kind == Cut::Kind::kMore);
}

void Client::checkClosed(const Server& server) {
  take();
  FUZZ_CHECK(isJustified(*closed, server));
  if (closed->error != 0 || !isWhole() || server.has_stopped || server.was_lost) return;
  // Whatever else went on: its requests were answered, and it saw every answer.
  FUZZ_CHECK(in_work.empty() && awaited.empty());
  FUZZ_CHECK(seen == replies.size());
  if (withdrawn == 0) FUZZ_CHECK(closed->count == discarded);
}

void Client::checkEnded() const {
  FUZZ_CHECK(!connection.isOpen());
  FUZZ_CHECK(closed.has_value() == id.has_value());
  if (!id.has_value()) FUZZ_CHECK(framed_bytes == 0 && seen == 0);
}

bool Client::isJustified(const Event& event, const Server& server) const {
  switch (event.reason) {
    case CloseReason::kPeerClosed:
      return has_ended && (!isWhole() || framed_bytes == sent.size());
    case CloseReason::kTruncatedFrame:
      return has_ended && framed_bytes < sent.size();
    case CloseReason::kPeerReset:
    case CloseReason::kIoError:
      return is_gone || has_broken_socket;
    case CloseReason::kFrameTooLarge:
    case CloseReason::kFrameLengthInvalid:
    case CloseReason::kFrameInvalid: {
      const Cut found = nextCut();
      if (found.kind != Cut::Kind::kBroken || found.reason != event.reason) return false;
      // Without a delimiter it is as much as had arrived when it was too much.
      if (framing.kind != Framing::Kind::kDelimited) return found.declared == event.declared;
      return found.declared >= event.declared && event.declared > framing.max_frame_bytes;
    }
    case CloseReason::kOutOfMemory:
      return server.refused_memory;
    case CloseReason::kClosedByService:
      return close_asked;
    case CloseReason::kClosedByHandler:
      return reply_and_close_asked;
    case CloseReason::kServerClosed:
      return server.has_drained;
    case CloseReason::kReactorLost:
      return server.was_lost;
    default:
      return event.reason == CloseReason::kDeadline && server.has_stopped;
  }
}

}  // namespace odradek::fuzz
