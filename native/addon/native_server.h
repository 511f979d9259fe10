// The core's SocketServer as an object of one JavaScript environment. Converts, and sees to it
// that nothing of the core outlives the environment or wakes it too late.
//
// All methods belong to the JavaScript thread; processors reach it through wake() alone.
#pragma once

#include <node_api.h>

#include <memory>
#include <vector>

#include "../core/socket_server.h"
#include "large_frames.h"
#include "loop_watcher.h"

namespace odradek {

class NativeServer final : public Consumer {
 public:
  static napi_value define(napi_env env);

  ~NativeServer();

 private:
  NativeServer(napi_env env, napi_value config);

  static napi_value construct(napi_env env, napi_callback_info info);
  template <napi_value (NativeServer::*method)(const napi_value* arguments)>
  static napi_value call(napi_env env, napi_callback_info info);
  static void onDoorbell(napi_env env, napi_value callback, void* context, void* data);
  static void onEnvironmentEnd(void* server);

  // The methods that TypeScript calls; see src/transport/native/binding.ts.
  napi_value start(const napi_value* arguments);
  napi_value claim(const napi_value* arguments);
  napi_value takeEvents(const napi_value* arguments);
  napi_value rest(const napi_value* arguments);
  napi_value submit(const napi_value* arguments);
  napi_value resize(const napi_value* arguments);
  napi_value isResizing(const napi_value* arguments);
  napi_value drain(const napi_value* arguments);
  napi_value stop(const napi_value* arguments);
  napi_value counters(const napi_value* arguments);
  napi_value ref(const napi_value* arguments);
  napi_value unref(const napi_value* arguments);

  void wake() override;
  bool openTables(napi_value tables);
  bool openDoorbell(napi_value callback);
  StartError watchThreadless(napi_value callback);
  void onReadable();
  void obeyResting(CommandBatch* batch);
  void busyPoll();
  void closeDoorbell();
  void end(CloseReason reason);
  bool writeRequest(const Request& request, uint32_t index, napi_value larges);
  napi_value largeFrame(const Request& request);
  void releaseClaimed();
  napi_value errorObject(const StartError& error);
  napi_value eventObject(const Event& event);
  Command readCommand(uint32_t index, Block* slab, napi_value larges, napi_value framings);
  static Command refused(Command command);
  static Block* copyOf(const std::byte* bytes, size_t length);
  bool takePart(napi_value part, Command* command);

  napi_env env_;
  SocketServer server_;
  napi_threadsafe_function doorbell_function_ = nullptr;
  // For a processor without a thread: calls the same function, from the event loop itself.
  LoopWatcher watcher_;
  napi_ref callback_ = nullptr;
  napi_async_context async_context_ = nullptr;
  // rest() allowed it to wait, and no claim has come since.
  bool is_resting_ = false;
  bool is_hooked_ = false;
  bool has_ended_ = false;
  // Maps Clock nanoseconds to milliseconds of performance.now().
  double epoch_ns_ = 0;

  // Tables and slabs that JavaScript made and keeps alive as long as this.
  napi_ref tables_ = nullptr;
  uint32_t* request_table_ = nullptr;
  double* time_table_ = nullptr;
  uint32_t* status_ = nullptr;
  uint32_t* command_table_ = nullptr;
  std::byte* reply_slab_ = nullptr;

  std::vector<Request> claimed_;
  size_t next_claimed_ = 0;
  uint32_t slab_used_ = 0;
  std::byte* slab_ = nullptr;
  uint32_t slab_bytes_ = 0;
  uint32_t larges_ = 0;

  std::vector<CommandBatch*> batches_;
  LargeFrames* large_frames_ = LargeFrames::make();
};

}  // namespace odradek
