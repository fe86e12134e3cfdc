#include "base/rng.h"

#include <gtest/gtest.h>

namespace geist {
namespace {

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(Philox, MatchesKnownAnswers) {
  using Block = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32(0, {0, 0, 0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32(~0ull, {~0u, ~0u, ~0u, ~0u}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32(0x299f31d0a4093822u, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, ResumesFromItsPosition) {
  RandomStream a(7, "sample"), b(7, "sample"), other(7, "dropout");
  for (int i = 0; i < 5; ++i) a.next_u64();
  b.seek(a.position());
  EXPECT_EQ(a.next_u64(), b.next_u64());
  b.seek(0);
  EXPECT_NE(b.next_u64(), other.next_u64());
}

TEST(RandomStream, StaysBelowTheBound) {
  RandomStream stream(1, "below");
  std::array<int, 3> counts{};
  for (int i = 0; i < 3000; ++i) ++counts[stream.next_below(3)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 120);
}

}  // namespace
}  // namespace geist
