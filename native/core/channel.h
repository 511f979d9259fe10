// Kafka's KafkaChannel: one connection of a processor, with its receive and send state, its mute
// state and the way it ends. Belongs to its processor's thread.
//
// Most connections of a server are idle, and this is what the core keeps of each: fields are in
// the order that leaves no gaps, and whatever few connections need is a pointer to it.
#pragma once

#include <cstdint>
#include <memory>

#include "connection_quotas.h"
#include "early_replies.h"
#include "frame_sizes.h"
#include "framing.h"
#include "handler_set.h"
#include "mute_state.h"
#include "receive.h"
#include "request.h"
#include "send.h"

namespace odradek {

class Processor;

// Where a channel is among those of its processor. A slot is used again, with its generation never.
struct Place {
  uint32_t slot = 0;
  uint32_t generation = 0;

  // What stands for it in the poller.
  uint64_t token() const { return uint64_t{generation} << 32 | slot; }
};

struct Channel {
  // How far the end of a connection has come.
  enum class Life : uint8_t {
    kOpen,       // reads, and is answered
    kClosing,    // reads no more; what was received is still answered, then the write side shuts
    kLingering,  // the write side is shut; what the peer still sends is discarded
    kDead,       // the socket is closed; requests are still in handlers' hands
  };

  // Given by the processor that opened it, and kept for life.
  ChannelId id;
  Place place;
  int fd = -1;
  // The processor that opened it, where it was handed over since.
  Processor* origin = nullptr;
  // The listener's, until a command sets one of its own.
  const Framing* framing = nullptr;
  std::unique_ptr<Framing> own_framing;
  Receive receive;
  Send send;
  EarlyReplies early;
  // Of the frames that are outstanding.
  FrameSizes sizes;

  // With `account`: by what it is counted.
  uint16_t listener = 0;
  // Muted at this many frames that are not settled. Above 1 a connection is read on meanwhile.
  uint16_t max_in_flight = 1;
  // Frames completed and not yet settled by a reply that left, or by the end.
  uint32_t outstanding = 0;
  uint32_t next_sequence = 0;
  uint32_t next_reply = 0;
  union {
    // Where the turn's last frame stands among the processor's completed receives.
    uint32_t last_receive = 0;
    // kLingering: how much input was discarded.
    uint32_t lingered_bytes;
  };
  // Settled without an answer.
  uint32_t unanswered = 0;

  // With a handler pool. The threads that gave commands for it, place modulo 64: they are told of
  // its end.
  uint64_t handler_places = 0;
  // Its thread's place, where it has one.
  uint32_t handler_place = HandlerSet::kNoPlace;
  // How often the framing has changed (wraps).
  uint16_t framing_epoch = 0;

  Life life = Life::kOpen;
  MuteState mute = MuteState::kNotMuted;
  CloseReason reason = CloseReason::kNone;

  // What the kernel said last (edge-triggered: kept until it says otherwise).
  bool is_readable : 1 = false;
  bool is_writable : 1 = true;
  bool reads_on : 1 = false;    // a short read doesn't mean that the kernel has no more
  bool is_ended : 1 = false;    // a read came to the end
  bool has_failed : 1 = false;  // an event told so: takeError() says how

  // The request channel had no room: held frames wait for a permit.
  bool waits_for_room : 1 = false;
  // The memory pool had nothing left: it isn't read.
  bool waits_for_memory : 1 = false;
  // Held bytes are to be cut before anything is read: complete frames, or such as break their
  // framing, which no read will announce.
  bool is_halted : 1 = false;
  // Nothing is cut or read until a command sets the framing of what follows.
  bool is_held : 1 = false;
  // The kernel has not taken all that it was offered last.
  bool is_full : 1 = false;
  // Closing: requests still in handlers' hands are not waited for, and their replies don't leave.
  bool is_cut : 1 = false;
  // Closed since there are too many connections.
  bool is_excess : 1 = false;
  // Its listener was removed: it is read no more, and ends when it is done.
  bool is_draining : 1 = false;

  // Whether the processor's lists of this turn have it already.
  bool in_ready : 1 = false;
  bool in_touched : 1 = false;
  bool in_completed_receives : 1 = false;
  bool in_completed_sends : 1 = false;
  bool in_disconnected : 1 = false;

  uint32_t account = Admission::kNoAccount;
  // More of the reason: the length that broke the framing (see isBroken()), or an errno.
  int64_t detail = 0;
  // When what the peer is waited for has begun, see Timeouts; at a rate: up to when it has paid by
  // what it took. Or the lingering.
  int64_t since_ns = 0;

  // Its framing was broken, and that is the reason.
  bool isBroken() const {
    return reason == CloseReason::kFrameTooLarge || reason == CloseReason::kFrameLengthInvalid ||
           reason == CloseReason::kFrameInvalid;
  }
  bool isMuted() const { return mute != MuteState::kNotMuted; }
  Admission admission() const { return {account, listener}; }
  bool isLive() const { return life == Life::kOpen || life == Life::kClosing; }
  void on(MuteEvent event) { mute = afterEvent(mute, event); }
};

}  // namespace odradek
