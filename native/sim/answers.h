// When the answers of a simulation were asked for and given: at fixed distances, so that the sums
// of the processors' histograms are known.
#pragma once

#include <cstdint>

#include "../core/request.h"

namespace odradek::sim {

// From the request to its answer.
inline constexpr int64_t kAnswerNs = 3'000'000;

// What a handler thread says of the command's answers.
inline void timeAnswers(Command& command, int64_t now_ns) {
  if (command.kind != Command::Kind::kReply || command.discarded) return;
  command.answers = {
      .count = command.settles, .received_at_ns = now_ns - kAnswerNs, .given_at_ns = now_ns};
}

}  // namespace odradek::sim
