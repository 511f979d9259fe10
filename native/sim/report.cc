#include "report.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace odradek::sim {

void Trace::note(const char* format, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof(line), format, arguments);
  va_end(arguments);
  for (const char* at = line; *at != 0; at++) {
    digest_ = (digest_ ^ static_cast<unsigned char>(*at)) * 0x100000001b3;
  }
  lines_++;
  if (is_loud_) std::printf("%6llu %s\n", static_cast<unsigned long long>(lines_), line);
  if (last_.size() < kKept) {
    last_.emplace_back(line);
  } else {
    last_[(lines_ - 1) % kKept] = line;
  }
}

void Trace::fail(const char* check, const char* format, ...) {
  if (!is_loud_) {
    const uint64_t first = lines_ > kKept ? lines_ - kKept : 0;
    for (unsigned long long i = first; i < lines_; i++) {
      std::printf("%6llu %s\n", i + 1, last_[i % kKept].c_str());
    }
  }
  std::printf("seed %llu: %s: ", static_cast<unsigned long long>(seed_), check);
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::printf("\nrepeat it: odradek_sim --seed %llu\n", static_cast<unsigned long long>(seed_));
  std::fflush(stdout);
  std::_Exit(1);
}

}  // namespace odradek::sim
