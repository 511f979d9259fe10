// The addon's entry: its two classes, and the constants that TypeScript must agree with.
#include <node_api.h>

#include "../core/bounds.h"
#include "../core/close_reason.h"
#include "../core/framing.h"
#include "../core/request.h"
#include "crossing.h"
#include "js.h"
#include "native_handler.h"
#include "native_server.h"

namespace odradek {
namespace {

napi_value constants(napi_env env) {
  napi_value object = js::object(env);
  const auto number = [&](const char* name, double value) {
    js::set(env, object, name, js::number(env, value));
  };
  number("slabBytes", kSlabBytes);
  number("largeFrameBytes", kLargeFrameBytes);
  number("entriesPerTable", crossing::kEntriesPerTable);
  number("fieldsPerEntry", crossing::kFieldsPerEntry);
  number("maxDelimiterBytes", kMaxDelimiterBytes);
  number("lastCloseReason", static_cast<double>(CloseReason::kWriteTooSlow));
  number("lastRequestField", crossing::kRequestBodyEnd);
  number("lastCommandKind", crossing::kThrottle);
  number("lastCommandField", crossing::kCommandLength);
  number("answerFields", crossing::kAnswerFields);
  number("processorTimes", crossing::kProcessorTimes);
  number("histogramBuckets", kTimeBuckets);
  number("lastEventKind", static_cast<double>(Event::Kind::kLeft));
  number("lastFramingKind", static_cast<double>(Framing::Kind::kRaw));
  return object;
}

}  // namespace
}  // namespace odradek

NAPI_MODULE_INIT() {
  napi_value constructor = odradek::NativeServer::define(env);
  odradek::js::set(env, exports, "NativeServer", constructor);
  odradek::js::set(env, exports, "NativeHandler", odradek::NativeHandler::define(env));
  odradek::js::set(env, exports, "constants", odradek::constants(env));
  return exports;
}
