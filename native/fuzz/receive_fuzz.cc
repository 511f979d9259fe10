// A stream in pieces of any size, with halts and reads that bring nothing, gives the frames that
// the same stream gives in one piece to cutFrame alone.
#include <string>
#include <vector>

#include "../test/fake_memory.h"
#include "../test/receive_bench.h"
#include "input.h"

namespace odradek::fuzz {
namespace {

using Outcome = Receive::Outcome;
using test::ReceiveBench;

struct Expected {
  std::vector<std::string_view> frames;
  bool is_broken = false;
  CloseReason reason = CloseReason::kNone;
  size_t left = 0;
};

Expected cutAll(const Framing& framing, std::string_view stream) {
  Expected expected;
  while (true) {
    const Cut found = cut(framing, stream);
    if (found.kind == Cut::Kind::kFrame) {
      expected.frames.push_back(stream.substr(0, found.frame_bytes));
      stream.remove_prefix(found.frame_bytes);
      continue;
    }
    expected.is_broken = found.kind == Cut::Kind::kBroken;
    expected.reason = found.reason;
    expected.left = stream.size();
    return expected;
  }
}

// The stream: the fuzzer's bytes, now and then repeated so often that they make large frames.
std::string streamOf(Input& input) {
  const uint32_t repeats = input.number(1) % 8 == 0 ? 1 + input.below(200) : 1;
  const std::string_view seed = input.rest();
  std::string stream;
  for (uint32_t i = 0; i < repeats && stream.size() < 300'000; i++) stream += seed;
  return stream;
}

void run(Input input) {
  const Framing framing = fuzz::framing(input);
  // Raw pieces depend on the reads; they are compared as one text.
  const bool is_raw = framing.kind == Framing::Kind::kRaw;
  const uint32_t seed = input.number(4);
  const std::string stream = streamOf(input);
  const Expected expected = cutAll(framing, stream);

  uint32_t state = seed;
  const auto below = [&](uint32_t bound) {
    state = state * 1'664'525 + 1'013'904'223;
    return (state >> 8) % bound;
  };
  test::FakeMemory memory;
  {
    ReceiveBench bench(framing, memory);
    bench.keeps_blocks = below(2) == 0;
    if (below(2) == 0) bench.admitted = below(10);
    std::string_view left = stream;
    Outcome outcome = Outcome::kMore;
    while (outcome != Outcome::kBroken && (!left.empty() || outcome == Outcome::kHalted)) {
      FUZZ_CHECK(outcome != Outcome::kRefused);
      if (outcome == Outcome::kHalted) {
        outcome = bench.admitMore(1 + below(4));
        continue;
      }
      if (below(10) == 0) FUZZ_CHECK(bench.feedNothing());
      const std::string_view piece = left.substr(0, 1 + below(below(4) == 0 ? 100'000 : 60));
      outcome = bench.feed(piece);
      left.remove_prefix(piece.size() - bench.unfed);
    }
    FUZZ_CHECK(bench.permits_taken == bench.frames.size());
    if (is_raw) {
      std::string all;
      for (const std::string& frame : bench.frames) all += frame;
      FUZZ_CHECK(all == stream);
    } else {
      FUZZ_CHECK((outcome == Outcome::kBroken) == expected.is_broken);
      FUZZ_CHECK(bench.frames.size() == expected.frames.size());
      for (size_t i = 0; i < expected.frames.size(); i++) {
        FUZZ_CHECK(bench.frames[i] == expected.frames[i]);
      }
      if (expected.is_broken) FUZZ_CHECK(bench.why_broken.reason == expected.reason);
      if (!expected.is_broken) FUZZ_CHECK(bench.receive.heldBytes() == expected.left);
    }
    if (bench.keeps_blocks) FUZZ_CHECK(bench.keptFrames() == bench.frames);
    bench.releaseKept();
  }
  FUZZ_CHECK(memory.live == 0);
}

}  // namespace
}  // namespace odradek::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  odradek::fuzz::run({data, size});
  return 0;
}
