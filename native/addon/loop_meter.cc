#include "loop_meter.h"

#include <dlfcn.h>

namespace odradek {

void LoopMeter::open(napi_env env) {
  if (napi_get_uv_event_loop(env, &loop_) != napi_ok) return;
  // libuv calls it thread-safe; Node has switched it on for the loops of its workers.
  const auto found = ::dlsym(RTLD_DEFAULT, "uv_metrics_idle_time");
  idle_time_ = reinterpret_cast<uint64_t (*)(uv_loop_s*)>(found);
}

// It grows from one call to the next while the loop waits, and only then.
bool LoopMeter::isWaiting() const {
  return idle_time_ != nullptr && idle_time_(loop_) != idle_time_(loop_);
}

}  // namespace odradek
