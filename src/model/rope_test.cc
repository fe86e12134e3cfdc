#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace geist::model {
namespace {

TEST(Rope, PlainFrequenciesAndTables) {
  const RopeFrequencies f = make_rope_frequencies({.dims = 8}, 10000.0, {});
  ASSERT_EQ(f.pairs(), 4);
  for (int i = 0; i < 4; ++i)
    EXPECT_NEAR(f.per_pair[static_cast<size_t>(i)], std::pow(10000.0, -i / 4.0), 1e-15);
  float cos[4], sin[4];
  rope_row(f, 123456, cos, sin);
  for (int i = 0; i < 4; ++i) {
    const double angle = 123456 * f.per_pair[static_cast<size_t>(i)];
    EXPECT_EQ(cos[i], static_cast<float>(std::cos(angle)));
    EXPECT_EQ(sin[i], static_cast<float>(std::sin(angle)));
  }
}

TEST(Rope, LinearScalingAndDivisors) {
  const std::vector<float> divisors = {1.0f, 2.0f, 4.0f, 8.0f};
  const RopeFrequencies plain = make_rope_frequencies({.dims = 8}, 5e5, {});
  const RopeFrequencies f = make_rope_frequencies(
      {.dims = 8, .scaling = RopeScaling::kLinear, .factor = 4.0}, 5e5, divisors);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_DOUBLE_EQ(f.per_pair[i], plain.per_pair[i] / 4.0 / double{divisors[i]});
}

// YaRN leaves fast pairs alone, divides slow ones by the factor, and ramps in between.
TEST(Rope, YarnRamp) {
  const RopeConfig config{
      .dims = 64, .scaling = RopeScaling::kYarn, .factor = 8.0, .original_context = 4096};
  const RopeFrequencies plain = make_rope_frequencies({.dims = 64}, 10000.0, {});
  const RopeFrequencies f = make_rope_frequencies(config, 10000.0, {});
  EXPECT_DOUBLE_EQ(f.per_pair.front(), plain.per_pair.front());
  EXPECT_DOUBLE_EQ(f.per_pair.back(), plain.per_pair.back() / 8.0);
  double last = 1.0;
  for (size_t i = 0; i < 32; ++i) {
    const double ratio = f.per_pair[i] / plain.per_pair[i];
    EXPECT_LE(ratio, last + 1e-12);
    last = ratio;
  }
  EXPECT_NEAR(f.magnitude, 1.0 + 0.1 * std::log(8.0), 1e-12);
}

TEST(Alibi, Slopes) {
  const std::vector<float> eight = alibi_slopes(8, 8.0f);
  for (int h = 0; h < 8; ++h)
    EXPECT_FLOAT_EQ(eight[static_cast<size_t>(h)], std::ldexp(1.0f, -(h + 1)));
  // Six heads: 2^-2, 2^-4, 2^-6, 2^-8, then 2^-1 and 2^-3.
  const std::vector<float> six = alibi_slopes(6, 8.0f);
  const int exponents[] = {-2, -4, -6, -8, -1, -3};
  for (size_t h = 0; h < 6; ++h) EXPECT_FLOAT_EQ(six[h], std::ldexp(1.0f, exponents[h]));
}

}  // namespace
}  // namespace geist::model
