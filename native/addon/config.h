// What TypeScript says of a server, as the core's own types.
#pragma once

#include <node_api.h>

#include "../core/socket_server.h"

namespace odradek {

// The limits of a ServerConfig, where they are read alone.
Timeouts readTimeouts(napi_env env, napi_value object);
ConnectionLimits readConnectionLimits(napi_env env, napi_value object);
MemoryLimits readMemoryLimits(napi_env env, napi_value object);
ListenerConfig readListenerConfig(napi_env env, napi_value object);
ServerConfig readServerConfig(napi_env env, napi_value object);
Framing readFraming(napi_env env, napi_value object);
napi_value framingObject(napi_env env, const Framing& framing);

}  // namespace odradek
