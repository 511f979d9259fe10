#include "large_frames.h"

#include <utility>

namespace odradek {
namespace {

// V8 collects the memory of young ArrayBuffers cheaply, but looks how much there is only when it
// allocates one itself, not when it is given one. If nobody has it look, it notices at 64 MiB, and
// marks the whole heap.
void haveMemoryLookedAt(napi_env env) {
  void* data = nullptr;
  napi_value smallest = nullptr;
  napi_create_arraybuffer(env, 1, &data, &smallest);
}

}  // namespace

napi_value LargeFrames::wrap(napi_env env, Block* block, std::byte* bytes, size_t length) {
  auto* hold = new Hold{this, block, bytes};
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, bytes, length, onCollected, hold, &buffer) != napi_ok) {
    delete hold;
    return nullptr;
  }
  block->retain();
  holds_[bytes] = hold;
  wrapped_bytes_ += length;
  if (wrapped_bytes_ >= kLookBytes) {
    wrapped_bytes_ = 0;
    haveMemoryLookedAt(env);
  }
  return buffer;
}

Block* LargeFrames::find(const std::byte* base) const {
  const auto found = holds_.find(base);
  return found == holds_.end() ? nullptr : found->second->block;
}

void LargeFrames::takeBack(napi_env env, napi_value buffer) {
  void* data = nullptr;
  size_t length = 0;
  napi_get_arraybuffer_info(env, buffer, &data, &length);
  const auto found = holds_.find(static_cast<const std::byte*>(data));
  // JavaScript has it as long as it can't be emptied.
  if (found == holds_.end() || napi_detach_arraybuffer(env, buffer) != napi_ok) return;
  std::exchange(found->second->block, nullptr)->release();
  holds_.erase(found);
}

void LargeFrames::onCollected(napi_env, void*, void* hint) {
  auto* hold = static_cast<Hold*>(hint);
  if (hold->block != nullptr) {
    LargeFrames* frames = hold->frames;
    frames->holds_.erase(hold->bytes);
    hold->block->release();
    if (frames->is_released_ && frames->holds_.empty()) delete frames;
  }
  delete hold;
}

void LargeFrames::release() {
  is_released_ = true;
  if (holds_.empty()) delete this;
}

}  // namespace odradek
