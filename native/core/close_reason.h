// Why a connection ended. The numbers are the TypeScript side's (src/close-reason.ts); a test
// checks them equal.
#pragma once

#include <cstdint>

namespace odradek {

enum class CloseReason : uint8_t {
  kNone = 0,
  kPeerClosed = 1,
  kTruncatedFrame = 2,
  kPeerReset = 3,
  kIoError = 4,
  kFrameTooLarge = 5,
  kFrameLengthInvalid = 6,
  kFrameInvalid = 7,
  kOutOfMemory = 8,
  kRefused = 9,
  kClosedByHandler = 10,
  kHandlerError = 11,
  kClosedByService = 12,
  kServerClosed = 13,
  kDeadline = 14,
  kReactorLost = 15,
  kHandlerLost = 16,
  kHandlerTimeout = 17,
  kIdleTimeout = 18,
  kFrameTimeout = 19,
  kWriteTimeout = 20,
  kTooManyConnections = 21,
  kListenerRemoved = 22,
  kTooManyUnsentBytes = 23,
  kOverloaded = 24,
  kReadTooSlow = 25,
  kWriteTooSlow = 26,
};

}  // namespace odradek
