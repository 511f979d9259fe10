#include "fail.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace odradek::bench {

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::fputs("load: ", stderr);
  std::vfprintf(stderr, format, arguments);
  std::fputc('\n', stderr);
  va_end(arguments);
  std::exit(1);
}

void failWithErrno(const char* what) { fail("%s: %s", what, std::strerror(errno)); }

}  // namespace odradek::bench
