#include "config.h"

#include <algorithm>
#include <cstring>

#include "../platform/ip_text.h"
#include "js.h"

namespace odradek {

Framing readFraming(napi_env env, napi_value object) {
  Framing framing;
  const auto number = [&](const char* name) {
    return js::toNumber(env, js::get(env, object, name));
  };
  framing.kind = static_cast<Framing::Kind>(static_cast<int>(number("kind")));
  framing.max_frame_bytes = static_cast<uint32_t>(number("maxFrameBytes"));
  framing.size_bytes = static_cast<uint8_t>(number("sizeBytes"));
  framing.big_endian = js::toBoolean(env, js::get(env, object, "bigEndian"));
  framing.offset = static_cast<uint32_t>(number("offset"));
  framing.adjustment = static_cast<int32_t>(number("adjustment"));
  framing.strip = static_cast<uint32_t>(number("strip"));
  framing.strip_delimiter = js::toBoolean(env, js::get(env, object, "stripDelimiter"));
  const js::Bytes delimiter = js::toBytes(env, js::get(env, object, "delimiter"));
  const size_t length = std::min(delimiter.length, framing.delimiter.size());
  if (length > 0) std::memcpy(framing.delimiter.data(), delimiter.data, length);
  framing.delimiter_bytes = static_cast<uint32_t>(length);
  return framing;
}

napi_value framingObject(napi_env env, const Framing& framing) {
  napi_value object = js::object(env);
  const auto number = [&](const char* name, double value) {
    js::set(env, object, name, js::number(env, value));
  };
  number("kind", static_cast<double>(framing.kind));
  number("maxFrameBytes", framing.max_frame_bytes);
  number("sizeBytes", framing.size_bytes);
  number("offset", framing.offset);
  number("adjustment", framing.adjustment);
  number("strip", framing.strip);
  js::set(env, object, "bigEndian", js::boolean(env, framing.big_endian));
  js::set(env, object, "stripDelimiter", js::boolean(env, framing.strip_delimiter));
  js::set(env, object, "delimiter",
          js::bytes(env, framing.delimiter.data(), framing.delimiter_bytes));
  return object;
}

Timeouts readTimeouts(napi_env env, napi_value object) {
  const auto number = [&](const char* name) {
    return static_cast<int64_t>(js::toNumber(env, js::get(env, object, name)));
  };
  const auto milliseconds = [&](const char* name) { return number(name) * 1'000'000; };
  return {
      .idle_ns = milliseconds("connectionsMaxIdleMs"),
      .frame_ns = milliseconds("frameTimeoutMs"),
      .write_ns = milliseconds("writeTimeoutMs"),
      .min_read_rate = number("minReadBytesPerSecond"),
      .min_write_rate = number("minWriteBytesPerSecond"),
      .grace_ns = milliseconds("minThroughputGraceMs"),
  };
}

MemoryLimits readMemoryLimits(napi_env env, napi_value object) {
  // Infinity: there is no limit.
  const auto bytes = [&](const char* name) {
    const double value = js::toNumber(env, js::get(env, object, name));
    return value < static_cast<double>(kUnlimitedBytes) ? static_cast<int64_t>(value)
                                                        : kUnlimitedBytes;
  };
  return {
      .request_bytes = bytes("queuedMaxRequestBytes"),
      .unsent_bytes = bytes("maxUnsentBytes"),
  };
}

ConnectionLimits readConnectionLimits(napi_env env, napi_value object) {
  const auto count = [&](napi_value of, const char* name) {
    const double value = js::toNumber(env, js::get(env, of, name));
    return value < kUnlimited ? static_cast<uint32_t>(value) : kUnlimited;
  };
  const auto forEach = [&](const char* name, auto take) {
    napi_value array = js::get(env, object, name);
    uint32_t length = 0;
    napi_get_array_length(env, array, &length);
    for (uint32_t i = 0; i < length; i++) take(js::get(env, array, i));
  };
  ConnectionLimits limits;
  limits.max_connections = count(object, "maxConnections");
  limits.max_connections_per_ip = count(object, "maxConnectionsPerIp");
  limits.creation_rate = count(object, "maxConnectionCreationRate");
  limits.creation_rate_per_ip = count(object, "maxConnectionCreationRatePerIp");
  limits.is_stopped = js::toBoolean(env, js::get(env, object, "isStopped"));
  forEach("perIpOverrides", [&](napi_value from) {
    const std::string range = js::toString(env, js::get(env, from, "text"));
    limits.per_ip_overrides.push_back({parseIpRange(range), count(from, "maxConnections")});
  });
  forEach("listeners", [&](napi_value from) {
    limits.listeners.push_back(
        {.max_connections = count(from, "maxConnections"),
         .creation_rate = count(from, "maxConnectionCreationRate"),
         .is_protected = js::toBoolean(env, js::get(env, from, "isProtected"))});
  });
  return limits;
}

ListenerConfig readListenerConfig(napi_env env, napi_value object) {
  const auto number = [&](const char* name) {
    return static_cast<uint32_t>(js::toNumber(env, js::get(env, object, name)));
  };
  ListenerConfig listener;
  listener.where.host = js::toString(env, js::get(env, object, "host"));
  listener.where.port = static_cast<uint16_t>(number("port"));
  listener.backlog = static_cast<int>(number("backlog"));
  listener.framing = readFraming(env, js::get(env, object, "framing"));
  return listener;
}

ServerConfig readServerConfig(napi_env env, napi_value object) {
  ServerConfig config;
  const auto number = [&](napi_value of, const char* name) {
    return static_cast<uint32_t>(js::toNumber(env, js::get(env, of, name)));
  };
  config.network_threads = number(object, "networkThreads");
  config.queued_max_requests = number(object, "queuedMaxRequests");
  config.max_pending_requests = number(object, "maxPendingRequests");
  config.busy_poll_ns = int64_t{number(object, "busyPollUs")} * 1000;
  config.timeouts = readTimeouts(env, js::get(env, object, "timeouts"));
  config.connections = readConnectionLimits(env, js::get(env, object, "connections"));
  config.memory = readMemoryLimits(env, js::get(env, object, "memory"));
  config.max_in_flight_per_connection =
      static_cast<uint16_t>(number(object, "maxInFlightPerConnection"));
  config.has_handler_pool = js::toBoolean(env, js::get(env, object, "hasHandlerPool"));
  config.has_affinity = js::toBoolean(env, js::get(env, object, "hasAffinity"));
  config.waits_for_accept = js::toBoolean(env, js::get(env, object, "waitsForAccept"));
  napi_value listeners = js::get(env, object, "listeners");
  uint32_t count = 0;
  napi_get_array_length(env, listeners, &count);
  for (uint32_t i = 0; i < count; i++) {
    config.listeners.push_back(readListenerConfig(env, js::get(env, listeners, i)));
  }
  return config;
}

}  // namespace odradek
