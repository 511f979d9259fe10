// N-API in the few words that the addon needs. Arguments come from our own TypeScript, which has
// checked them, so a call fails for one reason alone: the environment is ending (a worker is
// terminated in the middle of our method). Then values are null, zero or empty, JavaScript will
// not see what the method returns, and all that counts is that nothing is dereferenced.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "../core/socket_ops.h"

namespace odradek::js {

inline napi_value undefined(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}

inline napi_value number(napi_env env, double number) {
  napi_value value = nullptr;
  napi_create_double(env, number, &value);
  return value;
}

inline napi_value boolean(napi_env env, bool boolean) {
  napi_value value = nullptr;
  napi_get_boolean(env, boolean, &value);
  return value;
}

inline napi_value string(napi_env env, const std::string& text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  return value;
}

inline napi_value object(napi_env env) {
  napi_value value = nullptr;
  napi_create_object(env, &value);
  return value;
}

inline napi_value array(napi_env env) {
  napi_value value = nullptr;
  napi_create_array(env, &value);
  return value;
}

inline void set(napi_env env, napi_value object, const char* name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

inline void set(napi_env env, napi_value array, uint32_t index, napi_value value) {
  napi_set_element(env, array, index, value);
}

inline napi_value get(napi_env env, napi_value object, const char* name) {
  napi_value value = nullptr;
  napi_get_named_property(env, object, name, &value);
  return value;
}

inline napi_value get(napi_env env, napi_value array, uint32_t index) {
  napi_value value = nullptr;
  napi_get_element(env, array, index, &value);
  return value;
}

inline double toNumber(napi_env env, napi_value value) {
  double number = 0;
  napi_get_value_double(env, value, &number);
  return number;
}

inline uint32_t toUint32(napi_env env, napi_value value) {
  uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

inline bool toBoolean(napi_env env, napi_value value) {
  bool boolean = false;
  napi_get_value_bool(env, value, &boolean);
  return boolean;
}

inline std::string toString(napi_env env, napi_value value) {
  size_t length = 0;
  napi_get_value_string_utf8(env, value, nullptr, 0, &length);
  std::string text(length, '\0');
  napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
  return text;
}

// What a function without arguments returns.
inline napi_value call(napi_env env, napi_value function) {
  napi_value value = nullptr;
  napi_call_function(env, undefined(env), function, 0, nullptr, &value);
  return value;
}

// The bytes of a typed array, and where its ArrayBuffer begins. Empty if the call failed.
struct Bytes {
  std::byte* data = nullptr;
  size_t length = 0;
  std::byte* base = nullptr;
};

inline Bytes toBytes(napi_env env, napi_value value) {
  napi_typedarray_type type{};
  size_t length = 0;
  void* data = nullptr;
  size_t offset = 0;
  napi_value buffer = nullptr;
  napi_get_typedarray_info(env, value, &type, &length, &data, &buffer, &offset);
  if (type == napi_uint32_array) length *= 4;
  if (type == napi_float64_array) length *= 8;
  auto* bytes = static_cast<std::byte*>(data);
  return {bytes, length, bytes == nullptr ? nullptr : bytes - offset};
}

// A Buffer with a copy of these bytes.
inline napi_value bytes(napi_env env, const std::byte* data, size_t length) {
  napi_value value = nullptr;
  napi_create_buffer_copy(env, length, data, nullptr, &value);
  return value;
}

inline void setEndpoints(napi_env env, napi_value object, const Endpoint& local,
                         const Endpoint& remote) {
  set(env, object, "localAddress", string(env, local.host));
  set(env, object, "localPort", number(env, local.port));
  set(env, object, "remoteAddress", string(env, remote.host));
  set(env, object, "remotePort", number(env, remote.port));
}

}  // namespace odradek::js
