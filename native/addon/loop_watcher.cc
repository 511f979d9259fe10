#include "loop_watcher.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

// Opaque, as uv.h declares it; so is every handle.
struct uv_loop_s;

namespace odradek {
namespace {

// The few functions of libuv that are needed, by their names in uv.h.
struct Libuv {
  // uv_handle_type and uv_poll_event: part of libuv's stable ABI.
  static constexpr int kPollHandle = 8;
  static constexpr int kReadable = 1;

  size_t (*handle_size)(int type) = nullptr;
  int (*poll_init)(uv_loop_s* loop, void* handle, int fd) = nullptr;
  int (*poll_start)(void* handle, int events, void (*callback)(void*, int, int)) = nullptr;
  void (*handle_set_data)(void* handle, void* data) = nullptr;
  void (*unref)(void* handle) = nullptr;
  void (*close)(void* handle, void (*closed)(void*)) = nullptr;

  bool find() {
    return look("uv_handle_size", &handle_size) && look("uv_poll_init", &poll_init) &&
           look("uv_poll_start", &poll_start) && look("uv_handle_set_data", &handle_set_data) &&
           look("uv_unref", &unref) && look("uv_close", &close);
  }

 private:
  template <typename Function>
  static bool look(const char* name, Function* function) {
    *function = reinterpret_cast<Function>(::dlsym(RTLD_DEFAULT, name));
    return *function != nullptr;
  }
};

}  // namespace

// Lives until libuv has let go of the handle, and holds the environment's end up until then.
struct LoopWatcher::Watch {
  Libuv uv;
  void* handle = nullptr;
  Callback callback = nullptr;
  void* context = nullptr;
  bool is_closing = false;
  napi_async_cleanup_hook_handle hook = nullptr;

  void closeHandle() {
    callback = nullptr;
    if (std::exchange(is_closing, true)) return;
    uv.close(handle, [](void* closed) { of(closed)->release(); });
  }

  void release() {
    std::free(handle);
    if (hook != nullptr) napi_remove_async_cleanup_hook(hook);
    delete this;
  }

  // A handle's first member is its data: uv.h says so.
  static Watch* of(void* handle) { return *static_cast<Watch**>(handle); }

  static void onReadable(void* handle, int, int) {
    Watch* watch = of(handle);
    if (watch->callback != nullptr) watch->callback(watch->context);
  }

  static void onEnvironmentEnd(napi_async_cleanup_hook_handle, void* watch) {
    static_cast<Watch*>(watch)->closeHandle();
  }
};

int LoopWatcher::start(napi_env env, int fd, Callback callback, void* context) {
  auto* watch = new Watch();
  uv_loop_s* loop = nullptr;
  int error = ENOSYS;
  if (watch->uv.find() && napi_get_uv_event_loop(env, &loop) == napi_ok) {
    watch->handle = std::calloc(1, watch->uv.handle_size(Libuv::kPollHandle));
    error = watch->handle == nullptr ? ENOMEM : -watch->uv.poll_init(loop, watch->handle, fd);
  }
  if (error != 0) {
    std::free(watch->handle);
    delete watch;
    return error;
  }
  watch->uv.handle_set_data(watch->handle, watch);
  watch->callback = callback;
  watch->context = context;
  watch->uv.unref(watch->handle);
  napi_add_async_cleanup_hook(env, Watch::onEnvironmentEnd, watch, &watch->hook);
  error = -watch->uv.poll_start(watch->handle, Libuv::kReadable, Watch::onReadable);
  watch_ = watch;
  if (error != 0) stop();
  return error;
}

void LoopWatcher::stop() {
  if (watch_ != nullptr) std::exchange(watch_, nullptr)->closeHandle();
}

}  // namespace odradek
