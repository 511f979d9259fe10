#include "../core/channel.h"

#include <gtest/gtest.h>

namespace odradek {
namespace {

// What the core keeps of an idle connection is one of these and 16 bytes in the processor's tables.
// Whoever needs more room for a few connections has it allocated for those.
TEST(Channel, IsSmall) {
  if (sizeof(void*) != 8) GTEST_SKIP() << "other machines have other sizes";
  EXPECT_LE(sizeof(Channel), 192u);
  EXPECT_LE(sizeof(Receive), 32u);
  EXPECT_LE(sizeof(Send), 32u);
  EXPECT_LE(sizeof(EarlyReplies), 8u);
}

}  // namespace
}  // namespace odradek
