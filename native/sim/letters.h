// Letters that depend on where they stand, so that no piece of a stream passes for another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace odradek::sim {

// Appends `count` of the 26 letters from `first` on.
inline void appendLetters(std::string& stream, size_t count, uint32_t state, char first) {
  for (size_t i = 0; i < count; i++) {
    state = state * 1'664'525 + 1'013'904'223;
    stream += static_cast<char>(first + static_cast<char>((state >> 24) % 26));
  }
}

}  // namespace odradek::sim
