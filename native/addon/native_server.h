// The core's SocketServer as an object of one JavaScript environment. Converts, and sees to it
// that nothing of the core outlives the environment or wakes it too late.
//
// All methods belong to the JavaScript thread; processors reach it through wake() alone.
#pragma once

#include <node_api.h>

#include <memory>
#include <vector>

#include "../core/socket_server.h"
#include "loop_watcher.h"
#include "tables.h"

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
  napi_value takeBack(const napi_value* arguments);
  napi_value resize(const napi_value* arguments);
  napi_value isResizing(const napi_value* arguments);
  napi_value updateLimits(const napi_value* arguments);
  napi_value closeIdle(const napi_value* arguments);
  napi_value longestWaitMs(const napi_value* arguments);
  napi_value drain(const napi_value* arguments);
  napi_value stop(const napi_value* arguments);
  napi_value openHandler(const napi_value* arguments);
  napi_value closeHandler(const napi_value* arguments);
  napi_value handlerCounters(const napi_value* arguments);
  napi_value retireHandler(const napi_value* arguments);
  napi_value endWaiting(const napi_value* arguments);
  napi_value openListener(const napi_value* arguments);
  napi_value serveListener(const napi_value* arguments);
  napi_value bound(const napi_value* arguments);
  napi_value drainListener(const napi_value* arguments);
  napi_value cutListener(const napi_value* arguments);
  napi_value ofListener(const napi_value* arguments);
  napi_value counters(const napi_value* arguments);
  napi_value times(const napi_value* arguments);
  napi_value ref(const napi_value* arguments);
  napi_value unref(const napi_value* arguments);

  void wake() override;
  bool openDoorbell(napi_value callback);
  StartError watchThreadless(napi_value callback);
  void onReadable();
  void reportThrown();
  void obeyResting(CommandBatch* batch);
  void busyPoll();
  void closeDoorbell();
  void end(CloseReason reason);
  napi_value listenerCounters();
  napi_value lostRequests(const std::vector<Request>& requests);
  napi_value errorObject(const StartError& error);

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

  Tables tables_;
  std::vector<CommandBatch*> batches_;

  // By place: under which number a worker finds its handler.
  std::vector<double> published_;
  // What lost threads had claimed behind requests that are still to be answered.
  std::vector<Request> waiting_;
};

}  // namespace odradek
