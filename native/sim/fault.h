// What goes wrong in a simulation, each kind counted over a run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace odradek::sim {

enum class Fault : uint8_t {
  // The kernel's.
  kReadAgain,
  kReadInterrupted,
  kReadError,
  kWriteAgain,
  kWriteInterrupted,
  kWriteCut,
  kWriteNoBuffers,
  kWriteError,
  kAcceptInterrupted,
  kAcceptAborted,
  kAcceptNoBuffers,
  kDescriptorsOut,
  kSystemDescriptorsOut,
  kPollInterrupted,
  kSpuriousReadiness,
  kAddRefused,
  kShutdownFailed,
  kMemoryRefused,
  kPollerLost,
  // The clients'.
  kDribble,
  kHalfClose,
  kTruncatedFrame,
  kClientGone,
  kClientReset,
  kStopsReading,
  kBrokenFrame,
  kUrgent,
  // The service's.
  kNeverAnswers,
  kStrayReply,
  kLateCommand,
  kHandlerLost,
  kHandlerRetired,
  kHandlerAdded,
  kHandlerBusy,
  kProcessorLeaves,
  kProcessorComes,
  kListenerAdded,
  kListenerRemoved,
  kListenerCut,
  kOverloadStep,
  kRequestRefused,
  kDrainUnderLoad,
  kStopUnderLoad,
  kCount,
};

inline constexpr size_t kFaults = static_cast<size_t>(Fault::kCount);

inline constexpr std::array<const char*, kFaults> kFaultNames = {
    "read EAGAIN",
    "read EINTR",
    "read ETIMEDOUT",
    "write EAGAIN",
    "write EINTR",
    "partial write",
    "write ENOBUFS",
    "write EPIPE",
    "accept EINTR",
    "accept ECONNABORTED",
    "accept ENOBUFS",
    "accept EMFILE",
    "accept ENFILE",
    "poll EINTR",
    "spurious readiness",
    "poller add ENOSPC",
    "shutdown ENOTCONN",
    "memory refused",
    "poller lost",
    "client dribbles",
    "client half-closes",
    "client ends within a frame",
    "client closes",
    "client resets",
    "client stops reading",
    "client breaks the framing",
    "client sends urgent data",
    "handler never answers",
    "reply given twice",
    "command for a closed connection",
    "handler thread lost",
    "handler thread retired",
    "handler thread added",
    "handler thread busy elsewhere",
    "processor leaves",
    "processor comes",
    "listener added",
    "listener removed",
    "listener cut",
    "overload step",
    "request refused",
    "drain under load",
    "stop under load",
};

}  // namespace odradek::sim
