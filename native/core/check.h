// Two kinds of check on our own code. What the network sent is never asserted on: it gets a close
// reason.
#pragma once

#include <cstdio>
#include <cstdlib>

// Always on: going on would corrupt memory or lose requests.
#define ODRADEK_REQUIRE(condition)                                                          \
  do {                                                                                      \
    if (!(condition)) [[unlikely]] {                                                        \
      std::fprintf(stderr, "odradek: %s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                         \
    }                                                                                       \
  } while (false)

// On in debug and sanitizer builds: an invariant whose breach is survivable.
#ifdef ODRADEK_DEBUG
#define ODRADEK_ASSERT(condition) ODRADEK_REQUIRE(condition)
#else
#define ODRADEK_ASSERT(condition) \
  do {                            \
    (void)sizeof(condition);      \
  } while (false)
#endif
