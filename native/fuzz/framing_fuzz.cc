// cutFrame over every framing and any bytes: what it finds lies within the bytes, doesn't depend
// on what follows, and is found just as well when the bytes come little by little.
#include <vector>

#include "input.h"

namespace odradek::fuzz {
namespace {

void checkCut(const Framing& framing, std::string_view data, const Cut& found) {
  switch (found.kind) {
    case Cut::Kind::kMore:
      FUZZ_CHECK(found.frame_bytes == 0 || found.frame_bytes > data.size());
      break;
    case Cut::Kind::kFrame:
      FUZZ_CHECK(found.frame_bytes > 0);
      FUZZ_CHECK(found.frame_bytes <= data.size());
      FUZZ_CHECK(found.body_begin <= found.body_end);
      FUZZ_CHECK(found.body_end <= found.frame_bytes);
      // A raw frame is whatever is there; every other needs its last byte.
      if (framing.kind == Framing::Kind::kRaw) break;
      FUZZ_CHECK(cut(framing, data.substr(0, found.frame_bytes - 1)).kind == Cut::Kind::kMore);
      FUZZ_CHECK(cut(framing, data.substr(0, found.frame_bytes)).body_end == found.body_end);
      break;
    case Cut::Kind::kBroken:
      FUZZ_CHECK(found.reason != CloseReason::kNone);
      break;
  }
}

void run(Input input) {
  const Framing framing = fuzz::framing(input);
  const size_t step = 1 + input.below(50);
  const std::string_view data = input.rest();
  const Cut whole = cut(framing, data);
  checkCut(framing, data, whole);
  if (framing.kind == Framing::Kind::kRaw) return;

  size_t scanned = 0;
  for (size_t size = 0;; size = std::min(size + step, data.size())) {
    const Cut part = cut(framing, data.substr(0, size), &scanned);
    FUZZ_CHECK(scanned <= size);
    checkCut(framing, data.substr(0, size), part);
    if (part.kind != Cut::Kind::kMore) {
      FUZZ_CHECK(part.kind == whole.kind);
      FUZZ_CHECK(part.reason == whole.reason);
      FUZZ_CHECK(part.frame_bytes == whole.frame_bytes);
      FUZZ_CHECK(part.body_begin == whole.body_begin && part.body_end == whole.body_end);
      return;
    }
    if (size == data.size()) break;
  }
  FUZZ_CHECK(whole.kind == Cut::Kind::kMore);
}

}  // namespace
}  // namespace odradek::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  odradek::fuzz::run({data, size});
  return 0;
}
