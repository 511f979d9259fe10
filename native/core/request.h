// What crosses between processors and request handlers: requests one way, commands the other, and
// events beside the requests.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "block.h"
#include "close_reason.h"
#include "framing.h"
#include "socket_ops.h"

namespace odradek {

// Names a connection for as long as it lives: a slot of a processor is used again, a slot with
// its generation never (within 2^32 connections of one slot).
struct ChannelId {
  uint32_t processor = 0;
  uint32_t slot = 0;
  uint32_t generation = 0;

  auto operator<=>(const ChannelId&) const = default;
};

// One complete frame. Whoever holds it holds one reference to the block.
struct Request {
  ChannelId channel;
  // Its place among the frames of its connection (wraps).
  uint32_t sequence = 0;
  Block* block = nullptr;
  // The frame's bytes in the block, and the body's part of them (relative to the frame).
  uint32_t offset = 0;
  uint32_t frame_bytes = 0;
  uint32_t body_begin = 0;
  uint32_t body_end = 0;
  // No further frame of the connection comes before this one and those before it are settled. Not
  // known, and never set, where more than one may be in flight.
  bool is_last = false;
  // How often the connection's framing had changed when the frame was cut (wraps).
  uint16_t framing_epoch = 0;
  // With a handler pool and affinity: whose connection it is.
  uint32_t place = 0;
  // When the turn that completed the frame had read it (Clock).
  int64_t received_at_ns = 0;
};

// Replies whose times are counted, as what they leave with: see ProcessorTimes. All are of requests
// that were received at one moment, and were given at about one.
struct AnswerTimes {
  uint32_t count = 0;
  // Clock.
  int64_t received_at_ns = 0;
  int64_t given_at_ns = 0;
};

// What a request handler thread tells a processor about one connection.
struct Command {
  enum class Kind : uint8_t {
    kReply,       // bytes, or none, that settle `settles` requests from `sequence` on
    kAccept,      // onConnect accepted: begin to read
    kClose,       // close with `reason` once what was given before has left
    kHold,        // cut nothing more, until kSetFraming; kHeld answers
    kSetFraming,  // cut everything that follows by `framing`; the bytes were cut wrongly: cut again
    kPush,        // bytes that answer no request, behind what was given before
    kThrottle,    // read nothing for `length` milliseconds; kThrottleEnded answers
  };

  Kind kind = Kind::kReply;
  // kReply: close in order once this has left. kSetFraming: memory for `bytes` was refused.
  CloseReason reason = CloseReason::kNone;
  bool discarded = false;  // kReply: settled without an answer
  bool notify = false;     // kReply, kPush: an event says whether it was sent
  bool is_part = false;    // kReply: the next one of this connection settles `sequence`
  // Who gave it: 0 the server's own thread, else a handler pool's place + 1.
  uint32_t origin = 0;
  ChannelId channel;
  uint32_t sequence = 0;
  // kReply: requests that this settles. kSetFraming: requests that are withdrawn.
  uint32_t settles = 0;
  // One reference; null where there are no bytes.
  Block* block = nullptr;
  uint32_t offset = 0;
  uint32_t length = 0;
  // kReply. Those that are `discarded` are no answers.
  AnswerTimes answers;
  // kSetFraming.
  Framing framing;
};

struct Handover;

// The commands of one turn for one processor.
struct CommandBatch {
  std::vector<Command> commands;
  // Connections that come from another processor: before these commands, after those of batches
  // before. Owned by the batch.
  Handover* handover = nullptr;
  CommandBatch* next = nullptr;
};

// What happened beside requests, for the thread that owns the server.
struct Event {
  enum class Kind : uint8_t {
    kOpened,         // before anything else of this connection
    kReset,          // the peer is gone, requests of it are still in work
    kCut,            // with a pool: it is closed for `reason`; what was not begun needs no handler
    kClosed,         // the socket is closed and every request settled
    kSent,           // the fate of a reply whose command asked for it
    kPushSent,       // the same of a push
    kHeld,           // kHold was obeyed: no frame crosses behind those before `count`
    kThrottleEnded,  // answers `count` kThrottle of whoever is told
    kAcceptError,    // a listener could not accept: `error`
    kFatal,          // a processor or acceptor lost its poller: `error`
    kLeft,           // a processor has left: its connections are with others, its loop has ended
  };

  Kind kind = Kind::kOpened;
  ChannelId channel;
  CloseReason reason = CloseReason::kNone;
  int error = 0;
  // kOpened, kAcceptError: index of the listener. kOpened: the connection's index.
  uint32_t listener = 0;
  uint32_t index = 0;
  // kClosed: requests without an answer. kSent, kPushSent: the sequence. kHeld: the next frame's
  // sequence. kThrottleEnded: commands that it answers.
  uint32_t count = 0;
  // kClosed: the length that broke the framing.
  int64_t declared = 0;
  bool ok = false;
  Endpoint local;
  Endpoint remote;
  Event* next = nullptr;
};

}  // namespace odradek
