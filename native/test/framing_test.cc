#include "../core/framing.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace odradek {
namespace {

using namespace std::string_literals;

Cut cut(const Framing& framing, std::string_view data, size_t* scanned) {
  return cutFrame(framing, reinterpret_cast<const std::byte*>(data.data()), data.size(), scanned);
}

Cut cut(const Framing& framing, std::string_view data) {
  size_t scanned = 0;
  return cut(framing, data, &scanned);
}

void expectFrame(const Cut& cut, uint64_t frame_bytes, uint64_t body_begin, uint64_t body_end) {
  EXPECT_EQ(cut.kind, Cut::Kind::kFrame);
  EXPECT_EQ(cut.frame_bytes, frame_bytes);
  EXPECT_EQ(cut.body_begin, body_begin);
  EXPECT_EQ(cut.body_end, body_end);
}

void expectMore(const Cut& cut, uint64_t frame_bytes = 0) {
  EXPECT_EQ(cut.kind, Cut::Kind::kMore);
  EXPECT_EQ(cut.frame_bytes, frame_bytes);
}

void expectBroken(const Cut& cut, CloseReason reason, int64_t declared) {
  EXPECT_EQ(cut.kind, Cut::Kind::kBroken);
  EXPECT_EQ(cut.reason, reason);
  EXPECT_EQ(cut.declared, declared);
}

Framing sized(uint8_t size_bytes, bool big_endian = true) {
  Framing framing;
  framing.size_bytes = size_bytes;
  framing.big_endian = big_endian;
  framing.strip = size_bytes;
  return framing;
}

Framing delimited(std::string_view delimiter, uint32_t max = 1024) {
  Framing framing;
  framing.kind = Framing::Kind::kDelimited;
  framing.max_frame_bytes = max;
  framing.delimiter_bytes = static_cast<uint32_t>(delimiter.size());
  for (size_t i = 0; i < delimiter.size(); i++) {
    framing.delimiter[i] = static_cast<std::byte>(delimiter[i]);
  }
  return framing;
}

Framing varint(uint32_t max = 1024) {
  Framing framing;
  framing.kind = Framing::Kind::kVarintPrefixed;
  framing.max_frame_bytes = max;
  return framing;
}

// --- Length fields -----------------------------------------------------------------------------

TEST(LengthPrefixed, TheDefaultIsKafkas) {
  const Framing framing;
  expectMore(cut(framing, ""));
  expectMore(cut(framing, "\0\0\0"s));
  expectMore(cut(framing, "\0\0\0\3"s), 7);
  expectMore(cut(framing, "\0\0\0\3ab"s), 7);
  expectFrame(cut(framing, "\0\0\0\3abc"s), 7, 4, 7);
  expectFrame(cut(framing, "\0\0\0\3abc\0\0"s), 7, 4, 7);
  expectFrame(cut(framing, "\0\0\0\0"s), 4, 4, 4);
}

TEST(LengthPrefixed, EverySizeInBothByteOrders) {
  for (const uint8_t bytes : {1, 2, 3, 4, 8}) {
    const std::string zeros(bytes - 1u, '\0');
    expectFrame(cut(sized(bytes, true), zeros + "\2ab"s), bytes + 2u, bytes, bytes + 2u);
    expectFrame(cut(sized(bytes, false), "\2"s + zeros + "ab"), bytes + 2u, bytes, bytes + 2u);
    expectMore(cut(sized(bytes, true), zeros + "\2a"s), bytes + 2u);
  }
  Framing framing = sized(3, false);
  expectMore(cut(framing, "\1\2\3"s), 3 + 0x030201);
  framing.big_endian = true;
  expectMore(cut(framing, "\1\2\3"s), 3 + 0x010203);
}

TEST(LengthPrefixed, SmallFieldsAreUnsigned) {
  expectMore(cut(sized(1), "\xff"s), 1 + 255);
  expectMore(cut(sized(2), "\xff\xff"s), 2 + 65'535);
  expectMore(cut(sized(3), "\xff\xff\xff"s), 3 + 16'777'215);
}

TEST(LengthPrefixed, NegativeLengthsAreInvalid) {
  expectBroken(cut(sized(4), "\xff\xff\xff\xff"s), CloseReason::kFrameLengthInvalid, -1);
  expectBroken(cut(sized(4), "\x80\0\0\0"s), CloseReason::kFrameLengthInvalid, INT32_MIN);
  expectBroken(cut(sized(8), std::string(8, '\xff')), CloseReason::kFrameLengthInvalid, -1);
  expectBroken(cut(sized(8), "\x80\0\0\0\0\0\0\0"s), CloseReason::kFrameLengthInvalid, INT64_MIN);
}

TEST(LengthPrefixed, TheMaximumIsWithinAndOneMoreIsNot) {
  Framing framing = sized(2);
  framing.max_frame_bytes = 300;
  expectMore(cut(framing, "\x01\x2c"s), 302);
  expectBroken(cut(framing, "\x01\x2d"s), CloseReason::kFrameTooLarge, 301);
}

TEST(LengthPrefixed, TheLargestLengthsDontOverflow) {
  Framing framing = sized(8);
  framing.max_frame_bytes = UINT32_MAX;
  for (const int32_t adjustment : {0, 1, INT32_MAX, -1, INT32_MIN}) {
    framing.adjustment = adjustment;
    const Cut largest = cut(framing, "\x7f"s + std::string(7, '\xff'));
    EXPECT_EQ(largest.kind, Cut::Kind::kBroken) << adjustment;
    EXPECT_EQ(largest.reason, CloseReason::kFrameTooLarge) << adjustment;
  }
  framing.adjustment = 0;
  expectMore(cut(framing, "\0\0\0\0\xff\xff\xff\xff"s), 8 + uint64_t{UINT32_MAX});
  expectBroken(cut(framing, "\0\0\0\1\0\0\0\0"s), CloseReason::kFrameTooLarge, int64_t{1} << 32);
}

TEST(LengthPrefixed, TheMaximumIsComparedAfterTheAdjustment) {
  Framing framing = sized(4);
  framing.max_frame_bytes = 10;
  framing.adjustment = -4'000'000;
  expectMore(cut(framing, "\0\x3d\x09\x0a"s), 4 + 10);  // 4,000,010
  expectBroken(cut(framing, "\0\x3d\x09\x0b"s), CloseReason::kFrameTooLarge, 11);
  framing.adjustment = 5;
  expectMore(cut(framing, "\0\0\0\5"s), 4 + 10);
  expectBroken(cut(framing, "\0\0\0\6"s), CloseReason::kFrameTooLarge, 11);
}

TEST(LengthPrefixed, AnAdjustmentBelowTheHeaderIsInvalid) {
  Framing framing = sized(2);
  framing.adjustment = -2;
  expectFrame(cut(framing, "\0\2"s), 2, 2, 2);
  expectBroken(cut(framing, "\0\1"s), CloseReason::kFrameLengthInvalid, 1);
}

TEST(LengthPrefixed, StrippingMoreThanTheFrameIsInvalid) {
  Framing framing = sized(1);
  framing.strip = 5;
  expectFrame(cut(framing, "\4abcd"s), 5, 5, 5);
  expectBroken(cut(framing, "\3abc"s), CloseReason::kFrameLengthInvalid, 3);
}

// The examples of Netty's LengthFieldBasedFrameDecoder, with its HELLO, WORLD of 12 bytes.
struct NettyExample {
  const char* name;
  std::string input;
  uint32_t offset;
  uint8_t size_bytes;
  int32_t adjustment;
  uint32_t strip;
  std::string body;
};

TEST(LengthPrefixed, NettysExamples) {
  const std::string hello = "HELLO, WORLD";
  const NettyExample examples[] = {
      {"2 bytes at 0, header kept", "\0\x0c"s + hello, 0, 2, 0, 0, "\0\x0c"s + hello},
      {"2 bytes at 0, header stripped", "\0\x0c"s + hello, 0, 2, 0, 2, hello},
      {"the length is that of the message", "\0\x0e"s + hello, 0, 2, -2, 0, "\0\x0e"s + hello},
      {"3 bytes after a header of 2", "\xca\xfe\0\0\x0c"s + hello, 2, 3, 0, 0,
       "\xca\xfe\0\0\x0c"s + hello},
      {"3 bytes before a header of 2", "\0\0\x0c\xca\xfe"s + hello, 0, 3, 2, 0,
       "\0\0\x0c\xca\xfe"s + hello},
      {"2 bytes between headers, some stripped", "\xca\0\x0c\xfe"s + hello, 1, 2, 1, 3,
       "\xfe"s + hello},
      {"the same, with the length of the message", "\xca\0\x10\xfe"s + hello, 1, 2, -3, 3,
       "\xfe"s + hello},
  };
  for (const NettyExample& example : examples) {
    SCOPED_TRACE(example.name);
    Framing framing;
    framing.offset = example.offset;
    framing.size_bytes = example.size_bytes;
    framing.adjustment = example.adjustment;
    framing.strip = example.strip;
    const Cut whole = cut(framing, example.input);
    ASSERT_EQ(whole.kind, Cut::Kind::kFrame);
    EXPECT_EQ(whole.frame_bytes, example.input.size());
    EXPECT_EQ(example.input.substr(whole.body_begin, whole.body_end - whole.body_begin),
              example.body);
    // One byte less, whatever byte it is, is never a frame.
    for (size_t size = 0; size < example.input.size(); size++) {
      EXPECT_EQ(cut(framing, std::string_view(example.input).substr(0, size)).kind,
                Cut::Kind::kMore);
    }
  }
}

// --- Varints -----------------------------------------------------------------------------------

TEST(VarintPrefixed, LengthsOfOneAndMoreBytes) {
  expectMore(cut(varint(), ""));
  expectFrame(cut(varint(), "\0"s), 1, 1, 1);
  expectFrame(cut(varint(), "\3abc"s), 4, 1, 4);
  expectMore(cut(varint(), "\xac"s));
  expectMore(cut(varint(), "\xac\2"s), 2 + 300);
  expectFrame(cut(varint(), "\xac\2"s + std::string(300, 'x')), 302, 2, 302);
}

TEST(VarintPrefixed, TheMaximumIsWithinAndOneMoreIsNot) {
  expectMore(cut(varint(300), "\xac\2"s), 302);
  expectBroken(cut(varint(300), "\xad\2"s), CloseReason::kFrameTooLarge, 301);
}

TEST(VarintPrefixed, FiveBytesAtMost) {
  expectMore(cut(varint(UINT32_MAX), "\xff\xff\xff\xff\x0f"s), 5 + uint64_t{UINT32_MAX});
  expectBroken(cut(varint(UINT32_MAX), "\xff\xff\xff\xff\x7f"s), CloseReason::kFrameTooLarge,
               (int64_t{1} << 35) - 1);
  const Cut endless = cut(varint(), "\xff\xff\xff\xff\xff"s);
  EXPECT_EQ(endless.kind, Cut::Kind::kBroken);
  EXPECT_EQ(endless.reason, CloseReason::kFrameInvalid);
  expectMore(cut(varint(), "\xff\xff\xff\xff"s));
}

TEST(VarintPrefixed, LeadingZeroGroupsAreALength) {
  expectFrame(cut(varint(), "\x83\x80\0abc"s), 6, 3, 6);
}

// --- Delimiters --------------------------------------------------------------------------------

TEST(Delimited, TheDelimiterIsStrippedOrKept) {
  Framing framing = delimited("\r\n");
  expectFrame(cut(framing, "abc\r\nd"), 5, 0, 3);
  expectFrame(cut(framing, "\r\n"), 2, 0, 0);
  framing.strip_delimiter = false;
  expectFrame(cut(framing, "abc\r\nd"), 5, 0, 5);
}

TEST(Delimited, HalfADelimiterIsNone) {
  expectMore(cut(delimited("\r\n"), "abc\r"));
  expectFrame(cut(delimited("\r\n"), "a\rb\nc\r\n"), 7, 0, 5);
  expectFrame(cut(delimited("aab"), "aaab"), 4, 0, 1);
}

TEST(Delimited, TheLongestDelimiterIsFound) {
  const std::string delimiter = "0123456789abcdef";
  expectFrame(cut(delimited(delimiter), "0123456789abcde" + delimiter + "rest"), 31, 0, 15);
}

TEST(Delimited, ADelimiterOverTwoCallsIsFoundAndNothingIsSearchedTwice) {
  const Framing framing = delimited("\r\n");
  size_t scanned = 0;
  expectMore(cut(framing, "abc\r", &scanned));
  EXPECT_EQ(scanned, 3u);
  expectFrame(cut(framing, "abc\r\n", &scanned), 5, 0, 3);

  // What was searched is not looked at again: a delimiter planted there stays unseen.
  scanned = 0;
  expectMore(cut(framing, "abcdefgh", &scanned));
  EXPECT_EQ(scanned, 7u);
  expectMore(cut(framing, "\r\ncdefghi", &scanned));
  EXPECT_EQ(scanned, 8u);
}

TEST(Delimited, TheMaximumIsWithinAndOneMoreIsNot) {
  const Framing framing = delimited("\r\n", 4);
  expectFrame(cut(framing, "abcd\r\n"), 6, 0, 4);
  expectMore(cut(framing, "abcd"));
  expectMore(cut(framing, "abcd\r"));
  expectBroken(cut(framing, "abcde\r\n"), CloseReason::kFrameTooLarge, 5);
  expectBroken(cut(framing, "abcdef"), CloseReason::kFrameTooLarge, 5);
  // Five bytes may still be four and half a delimiter.
  expectMore(cut(framing, "abcde"));
}

// --- Raw ---------------------------------------------------------------------------------------

TEST(Raw, IsCutOnlyWhereItIsTooLong) {
  Framing framing;
  framing.kind = Framing::Kind::kRaw;
  framing.max_frame_bytes = 4;
  expectMore(cut(framing, ""));
  expectFrame(cut(framing, "abc"), 3, 0, 3);
  expectFrame(cut(framing, "abcdef"), 4, 0, 4);
}

}  // namespace
}  // namespace odradek
