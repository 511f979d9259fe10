// Tells other threads whether an environment's event loop waits for events at this moment.
//
// libuv's function is looked up at run time, as LoopWatcher's are: a runtime without it loads the
// addon all the same, and never waits for sure.
#pragma once

#include <node_api.h>

#include <cstdint>

struct uv_loop_s;

namespace odradek {

class LoopMeter {
 public:
  // The environment's own thread.
  void open(napi_env env);

  // Any thread, while the environment lives.
  bool isWaiting() const;

 private:
  // Nanoseconds that the loop has spent waiting, those of the present wait included.
  uint64_t (*idle_time_)(uv_loop_s* loop) = nullptr;
  uv_loop_s* loop_ = nullptr;
};

}  // namespace odradek
