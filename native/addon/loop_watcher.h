// Watches a descriptor from the environment's own event loop, for a processor without a thread.
//
// libuv's functions are looked up at run time: a runtime that has N-API but no libuv loads the
// addon all the same, and only start() fails there.
#pragma once

#include <node_api.h>

namespace odradek {

class LoopWatcher {
 public:
  using Callback = void (*)(void* context);

  LoopWatcher() = default;
  LoopWatcher(const LoopWatcher&) = delete;
  LoopWatcher& operator=(const LoopWatcher&) = delete;

  // Calls `callback` whenever `fd` is readable, until stop(). 0 or errno; ENOSYS: no libuv here.
  // Doesn't keep the process alive.
  int start(napi_env env, int fd, Callback callback, void* context);

  // No call comes after this. Before `fd` is closed.
  void stop();

 private:
  struct Watch;
  Watch* watch_ = nullptr;
};

}  // namespace odradek
