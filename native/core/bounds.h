// Every bound of the reactor in one place, each with its reason. Bounds that a service may set
// (queuedMaxRequests, maxPendingRequests, maxFrameBytes) are in ServerConfig and Framing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace odradek {

// Receive memory is taken in slabs of this size. 64 KiB holds one full read of a busy connection
// and is what the contract lets a kept body pin beyond its own bytes.
inline constexpr size_t kSlabBytes = 64 * 1024;

// A slab with less room than this is retired: smaller reads would cost a system call more often
// than they save memory.
inline constexpr size_t kMinReadBytes = 16 * 1024;

// Slabs that a processor keeps for later use; what comes back beyond them is freed, so that a
// burst doesn't keep its memory for ever. 64 x 64 KiB = 4 MiB a processor.
inline constexpr uint32_t kSpareSlabs = 64;

// From this size on a frame gets memory of its own and reaches JavaScript without a second copy:
// an external buffer costs 1.5-2 us, a copy of 16 KiB about as much.
inline constexpr size_t kLargeFrameBytes = 16 * 1024;

// Memory for a large frame grows with the bytes that have arrived: this much at first, then
// times kLargeGrowth, so that a declared size alone never takes memory.
inline constexpr size_t kFirstLargeBytes = 64 * 1024;
inline constexpr size_t kLargeGrowth = 4;

// From this size on memory is mapped from the system by itself, so that it can go back there by
// itself: what malloc() has for large frames stays resident if one small piece lies behind it.
inline constexpr size_t kMappedBytes = kLargeFrameBytes;

// Mapped memory that the process keeps for later use, and for how long it may lie unused. New
// pages for a frame cost about as much as copying it, and garbage collectors let go of frames by
// the hundred, several times a second. No more is ever kept than was in use at a time.
inline constexpr size_t kSpareMappedBytes = 128 * 1024 * 1024;
inline constexpr int64_t kSpareNs = 250'000'000;

// Mappings that go back to the system in one turn: about 50 us.
inline constexpr size_t kUnmapsAtOnce = 16;

// Bytes that one connection may read and write in one turn, so that a busy peer can't starve the
// others. A turn over one such connection takes about 100 us.
inline constexpr size_t kReadBytesPerTurn = 256 * 1024;
inline constexpr size_t kWriteBytesPerTurn = 1024 * 1024;

// Parts of one gathered write. Replies of one batch lie side by side, so few connections need
// more than a handful.
inline constexpr int kSegmentsPerWrite = 64;

// Frames of one connection that may be on their way at once, or max_in_flight if that is more. A
// connection is muted until fewer than max_in_flight are left of a batch; 64 keeps the write per
// batch gathered and the queue fair.
inline constexpr uint32_t kFramesPerBatch = 64;

// Places in the request queue that a processor takes at a time: one lock per 64 frames, and no
// processor can take the whole queue from the others.
inline constexpr uint32_t kPermitQuantum = 64;

// Bytes that a processor takes from the memory pool at a time, and gives back at the end of its
// turn: as many as one read may ask for.
inline constexpr int64_t kMemoryQuantum = 4 * 1024 * 1024;

// Events taken from the kernel by one poll.
inline constexpr int kEventsPerPoll = 512;

// Kafka's ConnectionQueueSize: connections handed to a processor and not yet configured, and as
// many are configured per turn, so that existing traffic goes on during a connection storm.
inline constexpr uint32_t kNewConnectionQueue = 20;

// Sockets accepted per turn of an acceptor: it looks at its doorbell in between.
inline constexpr int kAcceptsPerTurn = 64;

// Sockets that an acceptor holds back, of addresses that send too many: they count nowhere, so that
// this is what such clients can take of the descriptors. One more is closed at once.
inline constexpr size_t kMaxParked = 1024;

// Listeners that a connection can name.
inline constexpr uint32_t kMaxListeners = UINT16_MAX;

// How long an acceptor waits when descriptors or memory ran out before it tries again.
inline constexpr int64_t kAcceptBackoffNs = 100'000'000;

// An orderly close discards what the peer still sends, this long and this much, before the
// socket is closed: unread input would turn the last reply into a reset.
inline constexpr int64_t kLingerNs = 1'000'000'000;
inline constexpr size_t kLingerBytes = 1024 * 1024;

// Time-outs are found by sweeps over all connections; this many at most in the shortest of them,
// which is how late they may be: a sixteenth of it. A sweep over 10,000 takes about 50 us.
inline constexpr int64_t kSweepsPerTimeout = 16;

// Processors of a server; an option of the service that none has reason to exceed.
inline constexpr uint32_t kMaxProcessors = 64;

// Connections of one processor; the descriptor limit of the process is reached long before.
inline constexpr uint32_t kMaxSlots = 1u << 24;

// The longest delimiter of a delimited framing.
inline constexpr size_t kMaxDelimiterBytes = 16;

}  // namespace odradek
