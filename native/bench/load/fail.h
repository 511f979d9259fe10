// The generator gives up on the first thing that goes wrong: a number measured beside an error is
// worth nothing.
#pragma once

namespace odradek::bench {

// Prints `load: ` and the message, and exits with 1.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

// The same with what errno says at the end.
[[noreturn]] void failWithErrno(const char* what);

}  // namespace odradek::bench
