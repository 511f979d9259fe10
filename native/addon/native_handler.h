// A RequestHandler as an object of the JavaScript environment of its thread: a worker that claims
// requests of a server that belongs to another environment. Converts, and sees to it that nobody
// wakes it when its environment is gone.
//
// All methods belong to its thread; processors reach it through wake() alone.
#pragma once

#include <node_api.h>

#include <memory>
#include <vector>

#include "../core/request_handler.h"
#include "loop_meter.h"
#include "tables.h"

namespace odradek {

class NativeHandler final : public Waker {
 public:
  static napi_value define(napi_env env);

  // For the server's environment: the number by which a worker's finds the handler, once.
  static double publish(std::shared_ptr<RequestHandler> handler);
  static void withdraw(double number);

  ~NativeHandler();

 private:
  NativeHandler(napi_env env, std::shared_ptr<RequestHandler> handler, napi_value now);

  static napi_value construct(napi_env env, napi_callback_info info);
  template <napi_value (NativeHandler::*method)(const napi_value* arguments)>
  static napi_value call(napi_env env, napi_callback_info info);
  static void onDoorbell(napi_env env, napi_value callback, void* context, void* data);
  static void onEnvironmentEnd(void* handler);

  // The methods that TypeScript calls; see src/transport/native/binding.ts.
  napi_value start(const napi_value* arguments);
  napi_value claim(const napi_value* arguments);
  napi_value takeEvents(const napi_value* arguments);
  napi_value rest(const napi_value* arguments);
  napi_value submit(const napi_value* arguments);
  napi_value takeBack(const napi_value* arguments);
  napi_value describe(const napi_value* arguments);
  napi_value forget(const napi_value* arguments);
  napi_value leave(const napi_value* arguments);

  void wake() override;
  bool isWaiting() override { return loop_.isWaiting(); }
  void end();

  napi_env env_;
  std::shared_ptr<RequestHandler> handler_;
  Tables tables_;
  LoopMeter loop_;
  std::vector<Command> commands_;
  napi_threadsafe_function doorbell_function_ = nullptr;
  bool is_hooked_ = false;
  bool has_ended_ = false;
};

}  // namespace odradek
