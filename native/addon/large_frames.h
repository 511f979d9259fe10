// Large frames that JavaScript holds as external ArrayBuffers, by the address of the buffer: a
// reply made of one is sent from the memory in which it was received, without a copy. Those that
// were lent come back by takeBack(), and don't wait for the garbage collector.
//
// Belongs to the JavaScript thread. Lives until its server and the last such ArrayBuffer are gone,
// in whatever order: garbage collection may come long after the server's end.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "../core/block.h"

namespace odradek {

class LargeFrames {
 public:
  static LargeFrames* make() { return new LargeFrames(); }

  // The server's hold on this ends.
  void release();

  // An ArrayBuffer over `length` bytes of `block`, or null where that is forbidden.
  napi_value wrap(napi_env env, Block* block, std::byte* bytes, size_t length);

  // Empties the ArrayBuffer, and lets go of its memory. Others than these stay as they are.
  void takeBack(napi_env env, napi_value buffer);

  // The block of the ArrayBuffer that begins at `base`, or null if it is not one of these.
  Block* find(const std::byte* base) const;

 private:
  // What one ArrayBuffer keeps alive: nothing any more, where it was taken back.
  struct Hold {
    LargeFrames* frames;
    Block* block;
    const std::byte* bytes;
  };

  // So much is wrapped between two looks of V8 at how much there is: a look costs a microsecond,
  // and it collects at 32 MiB.
  static constexpr size_t kLookBytes = 1024 * 1024;

  static void onCollected(napi_env env, void* data, void* hint);

  std::unordered_map<const std::byte*, Hold*> holds_;
  size_t wrapped_bytes_ = 0;
  bool is_released_ = false;
};

}  // namespace odradek
