#include "kernels/quantize_q8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "kernels/kernels.h"

namespace geist::kernels {
namespace {

// Everything but the padding at the end.
bool same(const Q8Block& a, const Q8Block& b) {
  return std::memcmp(&a, &b, offsetof(Q8Block, sum) + sizeof a.sum) == 0;
}

std::vector<float> awkward_values() {
  RandomStream rng(3, "quantize_q8_test");
  std::vector<float> x(32 * 64);
  for (float& v : x) v = static_cast<float>(rng.next_double() * 2 - 1);
  const float inf = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  for (size_t i = 0; i < 32; ++i) x[i] = 0;
  for (size_t i = 32; i < 64; ++i)
    x[i] = static_cast<float>(i) - 48.5f;  // ties after scaling by 127 / 16.5
  for (size_t i = 64; i < 96; ++i)
    x[i] = (static_cast<float>(i % 16) - 8) / 127.0f + (i == 70 ? 1 : 0);
  x[100] = nan;
  x[133] = inf;
  x[165] = -inf;
  for (size_t i = 192; i < 224; ++i) x[i] = nan;
  for (size_t i = 224; i < 256; ++i) x[i] *= 1e-42f;  // subnormal: 127 / amax overflows
  for (size_t i = 256; i < 288; ++i) x[i] = i % 2 == 0 ? 1e-30f : -1e-30f;
  for (size_t i = 288; i < 320; ++i) x[i] *= std::numeric_limits<float>::max();
  for (size_t i = 320; i < 352; ++i) x[i] = (static_cast<float>(i % 32) + 0.5f) - 16;  // halves
  x[351] = 127;
  return x;
}

TEST(QuantizeQ8, EveryInstructionSetGivesTheSameBlocks) {
  const std::vector<float> x = awkward_values();
  const size_t count = x.size() / 32;
  std::vector<Q8Block> want(count);
  quantize_q8_scalar(x.data(), static_cast<int64_t>(x.size()), want.data());
  for (const Kernels* kernels : all_kernels()) {
    std::vector<Q8Block> got(count);
    kernels->quantize_q8(x.data(), static_cast<int64_t>(x.size()), got.data());
    for (size_t b = 0; b < count; ++b)
      EXPECT_TRUE(same(got[b], want[b])) << kernels->name << " block " << b;
  }
}

TEST(QuantizeQ8, RoundsToTheNearestCodeAndSums) {
  const std::vector<float> x = awkward_values();
  std::vector<Q8Block> blocks(x.size() / 32);
  quantize_q8_scalar(x.data(), static_cast<int64_t>(x.size()), blocks.data());
  for (size_t b = 11; b < blocks.size(); ++b) {
    const Q8Block& block = blocks[b];
    int sums[2] = {};
    for (size_t i = 0; i < 32; ++i) {
      EXPECT_NEAR(x[32 * b + i] / block.scale, block.codes[i], 0.501);
      sums[i / 16] += block.codes[i];
    }
    EXPECT_EQ(block.code_sum[0], sums[0]);
    EXPECT_EQ(block.code_sum[1], sums[1]);
    EXPECT_EQ(block.sum[0], block.scale * static_cast<float>(sums[0]));
    EXPECT_EQ(block.sum[2], block.scale * static_cast<float>(sums[0] + sums[1]));
  }
}

TEST(QuantizeQ8, TiesGoToEvenAndNanToTheLowestCode) {
  std::vector<float> x = awkward_values();
  Q8Block block;
  quantize_q8_scalar(x.data() + 320, 32, &block);  // amax 127: codes are the values, rounded
  EXPECT_EQ(block.scale, 1.0f);
  for (size_t i = 0; i < 31; ++i) EXPECT_EQ(block.codes[i], std::nearbyint(x[320 + i]));
  quantize_q8_scalar(x.data() + 96, 32, &block);
  EXPECT_EQ(block.codes[4], -127);
  quantize_q8_scalar(x.data(), 32, &block);
  EXPECT_EQ(block.scale, 0.0f);
  EXPECT_EQ(block.codes[31], 0);
}

}  // namespace
}  // namespace geist::kernels
