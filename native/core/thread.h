// A thread that may fail to start. std::thread can only say so by an exception, and the core has
// none.
#pragma once

#include <memory>

namespace odradek {

// A running thread; its destructor joins.
class Thread {
 public:
  virtual ~Thread() = default;
};

class ThreadStarter {
 public:
  // Runs `body(argument)` in a new thread and returns when it runs, or null with `*error` set.
  // `name` has at most 15 characters.
  virtual std::unique_ptr<Thread> start(const char* name, void (*body)(void*), void* argument,
                                        int* error) = 0;

 protected:
  ~ThreadStarter() = default;
};

}  // namespace odradek
