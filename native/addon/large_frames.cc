#include "large_frames.h"

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
  blocks_[bytes] = block;
  wrapped_bytes_ += length;
  if (wrapped_bytes_ >= kLookBytes) {
    wrapped_bytes_ = 0;
    haveMemoryLookedAt(env);
  }
  return buffer;
}

Block* LargeFrames::find(const std::byte* base) const {
  const auto found = blocks_.find(base);
  return found == blocks_.end() ? nullptr : found->second;
}

void LargeFrames::onCollected(napi_env, void*, void* hint) {
  auto* hold = static_cast<Hold*>(hint);
  LargeFrames* frames = hold->frames;
  frames->blocks_.erase(hold->bytes);
  hold->block->release();
  delete hold;
  if (frames->is_released_ && frames->blocks_.empty()) delete frames;
}

void LargeFrames::release() {
  is_released_ = true;
  if (blocks_.empty()) delete this;
}

}  // namespace odradek
