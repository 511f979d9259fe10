#include "../core/receive.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "../core/bounds.h"
#include "fake_memory.h"
#include "processor_bench.h"
#include "receive_bench.h"

namespace odradek {
namespace {

using test::FakeMemory;
using test::framed;
using test::ReceiveBench;
using Outcome = Receive::Outcome;

// Bytes in which a shift, a gap or a repetition shows.
std::string pattern(size_t size, uint32_t seed = 1) {
  std::string bytes(size, '\0');
  uint32_t state = seed;
  for (char& byte : bytes) {
    state = state * 1'664'525 + 1'013'904'223;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

Framing lines() {
  Framing framing;
  framing.kind = Framing::Kind::kDelimited;
  framing.delimiter[0] = std::byte{'\r'};
  framing.delimiter[1] = std::byte{'\n'};
  framing.delimiter_bytes = 2;
  return framing;
}

class ReceiveTest : public testing::Test {
 protected:
  ~ReceiveTest() override {
    bench.reset();
    EXPECT_EQ(memory.live, 0);
  }

  void use(const Framing& framing) { bench = std::make_unique<ReceiveBench>(framing, memory); }

  // Feeds `bytes` in pieces of `piece` bytes.
  void feedInPieces(std::string_view bytes, size_t piece) {
    for (size_t at = 0; at < bytes.size(); at += piece) {
      ASSERT_EQ(bench->feed(bytes.substr(at, piece)), Outcome::kMore);
    }
  }

  FakeMemory memory;
  std::unique_ptr<ReceiveBench> bench = std::make_unique<ReceiveBench>(Framing(), memory);
};

TEST_F(ReceiveTest, ManyFramesInOneRead) {
  std::string stream;
  std::vector<std::string> expected;
  for (uint32_t i = 0; i < 1000; i++) expected.push_back(framed(pattern(i % 50, i)));
  for (const std::string& frame : expected) stream += frame;
  EXPECT_EQ(bench->feed(stream), Outcome::kMore);
  EXPECT_EQ(bench->frames, expected);
  EXPECT_EQ(bench->reads, 1u);
  EXPECT_TRUE(bench->receive.empty());
}

TEST_F(ReceiveTest, ByteByByte) {
  std::vector<std::string> expected = {framed("abc"), framed(""), framed(pattern(700))};
  feedInPieces(expected[0] + expected[1] + expected[2], 1);
  EXPECT_EQ(bench->frames, expected);
  EXPECT_TRUE(bench->receive.empty());
}

TEST_F(ReceiveTest, EverySplitOfTwoFrames) {
  const std::vector<std::string> expected = {framed("first"), framed("second")};
  const std::string stream = expected[0] + expected[1];
  for (size_t at = 0; at <= stream.size(); at++) {
    use(Framing());
    bench->feed(stream.substr(0, at));
    bench->feed(stream.substr(at));
    ASSERT_EQ(bench->frames, expected) << at;
  }
}

TEST_F(ReceiveTest, SizesAroundEveryBoundInPiecesOfEverySize) {
  std::vector<std::string> expected;
  std::string stream;
  for (const size_t bound : {kLargeFrameBytes, kSlabBytes, size_t{kFirstLargeBytes * 4}}) {
    for (const size_t size : {bound - 5, bound - 4, bound - 3, bound, bound + 1}) {
      expected.push_back(framed(pattern(size, static_cast<uint32_t>(size))));
      expected.push_back(framed("x"));
    }
  }
  for (const std::string& frame : expected) stream += frame;
  for (const size_t piece : {size_t{997}, size_t{4096}, size_t{16'384}, size_t{65'536},
                             size_t{65'537}, size_t{1'000'000}, stream.size()}) {
    use(Framing());
    feedInPieces(stream, piece);
    ASSERT_TRUE(bench->frames == expected) << piece;
    EXPECT_TRUE(bench->receive.empty());
  }
}

// The same stream, cut by one call over all of it, is what every way to read it must give.
TEST_F(ReceiveTest, RandomStreamsInRandomPiecesUnderEveryFraming) {
  std::mt19937 random(20'260'119);
  const auto below = [&](uint32_t bound) { return static_cast<uint32_t>(random() % bound); };
  Framing varint;
  varint.kind = Framing::Kind::kVarintPrefixed;
  for (const Framing& framing : {Framing(), varint, lines()}) {
    for (int round = 0; round < 60; round++) {
      std::string stream;
      std::vector<std::string> expected;
      for (uint32_t i = below(30); i < 30; i++) {
        const uint32_t most = below(8) == 0 ? 200'000 : 300;
        std::string payload = pattern(below(most), random());
        std::string frame;
        if (framing.kind == Framing::Kind::kLengthPrefixed) {
          frame = framed(payload);
        } else if (framing.kind == Framing::Kind::kVarintPrefixed) {
          for (size_t rest = payload.size();; rest >>= 7) {
            frame += static_cast<char>((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
            if (rest <= 0x7f) break;
          }
          frame += payload;
        } else {
          std::replace(payload.begin(), payload.end(), '\n', '.');
          frame = payload + "\r\n";
        }
        stream += frame;
        expected.push_back(frame);
      }
      use(framing);
      bench->keeps_blocks = below(2) == 0;
      // Halts now and then, as a full request queue does.
      bench->admitted = below(2) == 0 ? SIZE_MAX : below(10);
      std::string_view left = stream;
      while (!left.empty()) {
        const size_t piece = below(3) == 0 ? 1 + below(10) : 1 + below(100'000);
        const std::string_view now = left.substr(0, piece);
        left.remove_prefix(now.size());
        Outcome outcome = bench->feed(now);
        for (;;) {
          ASSERT_TRUE(outcome == Outcome::kMore || outcome == Outcome::kHalted);
          if (outcome == Outcome::kHalted) {
            outcome = bench->admitMore(1 + below(5));
          } else if (bench->unfed > 0) {
            outcome = bench->feed(now.substr(now.size() - bench->unfed));
          } else {
            break;
          }
        }
      }
      ASSERT_TRUE(bench->frames == expected) << "round " << round;
      ASSERT_TRUE(!bench->keeps_blocks || bench->keptFrames() == expected) << "round " << round;
      bench->releaseKept();
      EXPECT_TRUE(bench->receive.empty());
    }
  }
}

// --- Memory ------------------------------------------------------------------------------------

TEST_F(ReceiveTest, AnEmptyReceiveHoldsNoMemoryOfItsOwn) {
  feedInPieces(framed("abc") + framed(pattern(100'000)) + framed("d"), 1000);
  bench->feedNothing();
  EXPECT_EQ(memory.live, 1) << "the slab that the thread is filling";
}

TEST_F(ReceiveTest, ADeclaredSizeTakesNoMemory) {
  bench->framing.max_frame_bytes = 1u << 30;
  bench->feed(std::string("\x3f\xff\xff\xff", 4));
  for (int i = 0; i < 100; i++) bench->feed("x");
  EXPECT_LE(memory.live_bytes, kSlabBytes + kFirstLargeBytes + 1024);
}

TEST_F(ReceiveTest, MemoryForALargeFrameGrowsWithItsBytes) {
  const std::string frame = framed(pattern(10'000'000));
  size_t at = 0;
  while (at < frame.size()) {
    const size_t piece = std::min<size_t>(50'000, frame.size() - at);
    ASSERT_EQ(bench->feed(std::string_view(frame).substr(at, piece)), Outcome::kMore);
    at += piece;
    const uint64_t most = std::max(at * kLargeGrowth, kFirstLargeBytes) + 2 * kSlabBytes;
    ASSERT_LE(memory.live_bytes, most) << at;
  }
  EXPECT_EQ(bench->frames.size(), 1u);
  // 64 KiB, 256 KiB, 1 MiB, 4 MiB, all of it, the first small block and the slab.
  EXPECT_LE(memory.allocations, 8u);
}

// What a frame costs must grow with its size, not with its square.
TEST_F(ReceiveTest, ALongLineIsCopiedABoundedNumberOfTimes) {
  use(lines());
  bench->framing.max_frame_bytes = 64 << 20;
  std::string line(32 << 20, 'x');
  line += "\r\n";
  feedInPieces(line, 64 * 1024);
  ASSERT_EQ(bench->frames.size(), 1u);
  EXPECT_EQ(bench->frames[0].size(), line.size());
  EXPECT_LE(memory.allocations, 30u) << "each one copies what has come so far";
}

TEST_F(ReceiveTest, AHalfSentSmallFrameTakesAboutItsSize) {
  bench->feed(framed(pattern(1000)).substr(0, 500));
  EXPECT_LE(memory.live_bytes, kSlabBytes + 512 + 2 * sizeof(Block));
}

TEST_F(ReceiveTest, AKeptLargeFramePinsLittleBeyondItself) {
  bench->keeps_blocks = true;
  bench->feed(framed(pattern(3'000'000, 1)));
  // The next is expected to be as large, and isn't.
  const std::string second = framed(pattern(20'000, 2));
  bench->feed(second);
  ASSERT_EQ(bench->frames.size(), 2u);
  EXPECT_LE(bench->capacities[1], second.size() + kSlabBytes);
  EXPECT_EQ(bench->keptFrames()[1], second);
  bench->releaseKept();
}

TEST_F(ReceiveTest, ExpectedLargeFramesNeedNoGrowing) {
  const std::string frame = framed(pattern(1'000'000));
  bench->feed(frame);
  const uint64_t before = memory.allocations;
  bench->feed(frame);
  EXPECT_EQ(bench->frames.size(), 2u);
  EXPECT_EQ(memory.allocations, before + 1);
}

TEST_F(ReceiveTest, ALargeFrameIsExpectedAndSmallOnesCome) {
  bench->feed(framed(pattern(100'000)));
  std::vector<std::string> expected = {framed(pattern(100'000))};
  for (uint32_t i = 0; i < 10; i++) {
    expected.push_back(framed(pattern(100, i)));
    bench->feed(expected.back());
  }
  EXPECT_EQ(bench->frames, expected);
  EXPECT_EQ(bench->capacities.back(), kSlabBytes) << "small frames share the slab";
}

TEST_F(ReceiveTest, AReadThatBringsNothingGivesTheExpectedMemoryBack) {
  bench->feed(framed(pattern(1'000'000)));
  const uint64_t before = memory.live_bytes;
  EXPECT_TRUE(bench->feedNothing());
  EXPECT_EQ(memory.live_bytes, before);
}

TEST_F(ReceiveTest, AFrameThatAHandlerKeepsIsNeverWrittenAgain) {
  bench->keeps_blocks = true;
  std::vector<std::string> expected;
  for (uint32_t i = 0; i < 300; i++) {
    expected.push_back(framed(pattern(i % 7 == 0 ? 40'000 : 900, i)));
    feedInPieces(expected.back(), 700);
  }
  EXPECT_TRUE(bench->keptFrames() == expected);
  bench->releaseKept();
}

// --- Halts, breaks, unread ---------------------------------------------------------------------

TEST_F(ReceiveTest, AHaltKeepsTheRestAndItsOrder) {
  bench->admitted = 2;
  std::vector<std::string> expected;
  std::string stream;
  for (uint32_t i = 0; i < 6; i++) expected.push_back(framed(pattern(i == 3 ? 50'000 : 10, i)));
  for (const std::string& frame : expected) stream += frame;
  EXPECT_EQ(bench->feed(stream + std::string(2, '\0')), Outcome::kHalted);
  EXPECT_EQ(bench->frames.size(), 2u);
  EXPECT_EQ(bench->admitMore(1), Outcome::kHalted);
  EXPECT_EQ(bench->frames.size(), 3u);
  EXPECT_EQ(bench->admitMore(100), Outcome::kMore);
  EXPECT_EQ(bench->frames, expected);
  EXPECT_FALSE(bench->receive.empty()) << "half a header is left";
}

TEST_F(ReceiveTest, AHaltInTheMiddleOfAReadIntoOwnMemory) {
  const std::string large = framed(pattern(100'000));
  bench->feed(large);  // the next read goes into memory of its own
  bench->admitted = 0;
  EXPECT_EQ(bench->feed(large + framed("a") + framed("b")), Outcome::kHalted);
  EXPECT_EQ(bench->admitMore(SIZE_MAX), Outcome::kMore);
  EXPECT_EQ(bench->frames, (std::vector<std::string>{large, large, framed("a"), framed("b")}));
}

TEST_F(ReceiveTest, ABreakComesAfterTheGoodFrames) {
  const std::string bad = std::string("\xff\xff\xff\xff", 4);
  EXPECT_EQ(bench->feed(framed("a") + framed("b") + bad), Outcome::kBroken);
  EXPECT_EQ(bench->frames, (std::vector<std::string>{framed("a"), framed("b")}));
  EXPECT_EQ(bench->why_broken.reason, CloseReason::kFrameLengthInvalid);
  EXPECT_EQ(bench->why_broken.declared, -1);
}

TEST_F(ReceiveTest, ABreakIsFoundInHeldBytesToo) {
  feedInPieces(std::string("\xff\xff\xff", 3), 1);
  EXPECT_EQ(bench->feed("\xff"), Outcome::kBroken);

  use(Framing());
  bench->admitted = 1;
  EXPECT_EQ(bench->feed(framed("a") + framed("b") + "\xff\xff\xff\xff"), Outcome::kHalted);
  EXPECT_EQ(bench->admitMore(5), Outcome::kBroken);
  EXPECT_EQ(bench->frames.size(), 2u);
}

TEST_F(ReceiveTest, ALineThatNeverEndsBreaksAtTheMaximum) {
  use(lines());
  bench->framing.max_frame_bytes = 100'000;
  Outcome outcome = Outcome::kMore;
  size_t fed = 0;
  while (outcome == Outcome::kMore && fed < 200'000) {
    outcome = bench->feed(std::string(1000, 'x'));
    fed += 1000;
  }
  EXPECT_EQ(outcome, Outcome::kBroken);
  EXPECT_EQ(fed, 101'000u);
}

TEST_F(ReceiveTest, UnreadBytesComeBeforeWhatIsHeld) {
  use(lines());
  bench->admitted = 1;
  EXPECT_EQ(bench->feed("hello\r\none\r\ntwo\r\nthr"), Outcome::kHalted);
  // The service takes "one" back and switches to sizes.
  bench->framing = Framing();
  ASSERT_TRUE(bench->unread(framed("one\r\ntwo\r\nthr").substr(0, 4)));
  EXPECT_EQ(bench->receive.heldBytes(), 4u + 13u);
  EXPECT_EQ(bench->admitMore(SIZE_MAX - 1), Outcome::kMore);
  EXPECT_EQ(bench->frames.back(), framed("one\r\ntwo\r\nthr"));
  EXPECT_TRUE(bench->receive.empty());
}

TEST_F(ReceiveTest, UnreadOfNothingIsNothing) {
  EXPECT_TRUE(bench->unread(""));
  EXPECT_TRUE(bench->receive.empty());
  bench->feed("\0\0");
  EXPECT_TRUE(bench->unread(""));
  EXPECT_EQ(bench->feed(std::string("\0\0\0\1x", 5).substr(2)), Outcome::kMore);
}

TEST_F(ReceiveTest, AFrameUnderWayIsSearchedAnewUnderANewFraming) {
  use(lines());
  bench->feed("abc\r");
  ASSERT_TRUE(bench->unread(""));
  bench->framing.delimiter[0] = std::byte{'c'};
  bench->framing.delimiter_bytes = 1;
  EXPECT_EQ(bench->admitMore(0), Outcome::kMore);
  EXPECT_EQ(bench->frames, (std::vector<std::string>{"abc"}));
}

// --- Refused memory ----------------------------------------------------------------------------

// Each allocation of a long exchange is refused once; every time the reader says so, holds
// nothing that it shouldn't, and has taken a permit for each frame that it gave away, no more.
TEST_F(ReceiveTest, EveryRefusalIsSaidAndLeaksNothing) {
  std::vector<std::string> expected;
  for (uint32_t i = 0; i < 6; i++) {
    expected.push_back(framed(pattern(150'000, i)));
    expected.push_back(framed(pattern(20'000, i)));
    expected.push_back(framed(pattern(300, i)));
  }
  bool was_refused = true;
  int64_t granted = 0;
  while (was_refused) {
    FakeMemory tight;
    ReceiveBench reader(Framing(), tight);
    reader.keeps_blocks = true;
    tight.refuseAfter(granted);
    Outcome outcome = Outcome::kMore;
    // Frame by frame, so that a small one meets the memory made for a large one; every third
    // one in two parts, so that they are held, too.
    for (size_t i = 0; i < expected.size() && outcome == Outcome::kMore; i++) {
      const std::string_view frame = expected[i];
      const size_t first = i % 3 == 2 ? 1 : frame.size();
      outcome = reader.feed(frame.substr(0, first));
      if (outcome == Outcome::kMore) outcome = reader.feed(frame.substr(first));
    }
    was_refused = outcome == Outcome::kRefused;
    ASSERT_EQ(was_refused, tight.refusals > 0 && reader.frames.size() < expected.size());
    ASSERT_EQ(reader.permits_taken, reader.frames.size()) << granted;
    ASSERT_LE(reader.frames.size(), expected.size());
    for (size_t i = 0; i < reader.frames.size(); i++) {
      ASSERT_TRUE(reader.frames[i] == expected[i]) << "frame " << i << " of run " << granted;
    }
    reader.releaseKept();
    reader.receive.drop();
    granted++;
  }
  EXPECT_GT(granted, 20);
}

TEST_F(ReceiveTest, ARefusedUnreadChangesNothing) {
  bench->feed(framed("abc").substr(0, 5));
  memory.refuseAfter(0);
  EXPECT_FALSE(bench->unread("xyz"));
  memory.allow();
  EXPECT_EQ(bench->feed("bc"), Outcome::kMore);
  EXPECT_EQ(bench->frames, (std::vector<std::string>{framed("abc")}));
}

}  // namespace
}  // namespace odradek
