// The layout of the tables through which batches cross, as TypeScript reads and writes them
// (src/transport/native/crossing.ts; a test checks both equal). Entries are uint32.
#pragma once

#include <cstdint>

namespace odradek::crossing {

// Requests that one claim writes at most, and commands that one submit reads at most.
inline constexpr uint32_t kEntriesPerTable = 512;
inline constexpr uint32_t kFieldsPerEntry = 8;

// Large frames that one claim writes at most, so that the event loop gets its turn between them.
inline constexpr uint32_t kLargesPerClaim = 16;

// A claimed request. Body offsets count from the start of its frame.
enum RequestField : uint32_t {
  kRequestProcessor,  // and the framing's epoch, and kLastFlag: the connection's last one for now
  kRequestSlot,
  kRequestGeneration,
  kRequestSequence,
  kRequestOffset,  // in the slab, or kLargeFlag | index among the large frames
  kRequestFrameBytes,
  kRequestBodyBegin,
  kRequestBodyEnd,
};
inline constexpr uint32_t kLargeFlag = 0x8000'0000;
inline constexpr uint32_t kLastFlag = 0x8000'0000;
inline constexpr uint32_t kEpochShift = 8;

// What a claim says beside its requests.
enum StatusField : uint32_t {
  kStatusSlabUsed,
  kStatusMore,    // 1: requests are left to claim at once
  kStatusEvents,  // 1: events wait
  // After rest(): when to take a turn at the latest (0: no need), for a processor without a thread.
  kStatusTimeoutMs,
};
inline constexpr uint32_t kStatusFields = kStatusTimeoutMs + 1;

// A command: kind | reason << 8 | flags << 16, then who, then what.
enum CommandField : uint32_t {
  kCommandKind,
  kCommandProcessor,
  kCommandSlot,
  kCommandGeneration,
  kCommandSequence,
  kCommandSettles,
  kCommandOffset,  // in the reply slab; kReplyLarge, kSetFraming: index among the large parts
  kCommandLength,  // kSetFraming: index among the framings; kThrottle: milliseconds
};

enum CommandKind : uint32_t {
  kReply,
  kReplyLarge,
  kAccept,
  kClose,
  kHold,
  kSetFraming,
  kThrottle,
};

// Beside it, as doubles: of which answers it counts the times, see AnswerTimes. Moments are on the
// scale of performance.now().
enum AnswerField : uint32_t {
  kAnswerCount,
  kAnswerReceived,
  kAnswerGiven,
};
inline constexpr uint32_t kAnswerFields = kAnswerGiven + 1;

// A histogram, as doubles: milliseconds, then its buckets.
enum HistogramField : uint32_t {
  kHistogramSum,
  kHistogramMax,
  kHistogramBuckets,
};

// Those of the processors, one behind the other.
enum ProcessorTime : uint32_t {
  kThrottleTime,
  kResponseQueueTime,
  kResponseSendTime,
  kTotalTime,
};
inline constexpr uint32_t kProcessorTimes = kTotalTime + 1;

// No large part belongs to the command.
inline constexpr uint32_t kNoPart = 0xffff'ffff;

enum CommandFlag : uint32_t {
  kFlagDiscarded = 1,
  kFlagNotify = 2,
  kFlagPush = 4,
};

}  // namespace odradek::crossing
