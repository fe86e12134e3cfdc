// What a page holds of a token's keys and values, and that a cleared slot is as one never written.
#include "kernels/kv_page.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "kernels/block.h"

namespace geist::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr KvType kTypes[] = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0};

// One key of one head, stored in slot 3 and read back; values are those keys too.
std::vector<float> round_trip(KvType type, const std::vector<float>& x) {
  const auto n = static_cast<int32_t>(x.size());
  const KvShape shape{1, n, n, type};
  std::vector<std::byte> page(static_cast<size_t>(*kv_layer_bytes(shape)));
  kv_store(shape, page.data(), 3, x.data(), x.data());
  const KvBlock block = kv_block(shape);
  std::vector<float> out;
  const auto half = [&](int64_t at) {
    uint16_t bits;
    std::memcpy(&bits, page.data() + at, 2);
    return bits;
  };
  for (int64_t d = 0; d < n; ++d) {
    const int64_t key = (d * kPageTokens + 3) * kv_element_bytes(type);
    const int64_t value = block.values + (3 * n + d) * kv_element_bytes(type);
    EXPECT_EQ(std::memcmp(page.data() + key, page.data() + value,
                          static_cast<size_t>(kv_element_bytes(type))),
              0);
    if (type == KvType::kF32) {
      float f;
      std::memcpy(&f, page.data() + key, 4);
      out.push_back(f);
    } else if (type == KvType::kQ8_0) {
      const int64_t scale = block.key_scales + (d / kKvScaleBlock * kPageTokens + 3) * 2;
      out.push_back(static_cast<float>(static_cast<int8_t>(page[static_cast<size_t>(key)])) *
                    f16_to_f32(half(scale)));
    } else {
      out.push_back(type == KvType::kF16 ? f16_to_f32(half(key)) : bf16_to_f32(half(key)));
    }
  }
  return out;
}

TEST(KvPage, RoundsOnceAndToTheNearest) {
  RandomStream random(1, "kv");
  std::vector<float> x(75);
  for (float& v : x) v = static_cast<float>(random.next_double() * 20 - 10);
  EXPECT_EQ(round_trip(KvType::kF32, x), x);
  const std::vector<float> f16 = round_trip(KvType::kF16, x), bf16 = round_trip(KvType::kBF16, x),
                           q8 = round_trip(KvType::kQ8_0, x);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(f16[i], f16_to_f32(f32_to_f16(x[i])));
    EXPECT_EQ(bf16[i], bf16_to_f32(f32_to_bf16(x[i])));
    EXPECT_NEAR(q8[i], x[i], 10.0 / 127 / 2 * 1.01);  // half a step, and the scale's own rounding
  }
}

TEST(KvPage, ExtremesStayFinite) {
  const std::vector<float> x = {1e30f, -1e30f, 65520.0f, 1e-30f, 0.0f, -0.0f, kInf, -kInf};
  for (const KvType type : {KvType::kF16, KvType::kQ8_0})
    for (const float v : round_trip(type, x)) EXPECT_TRUE(std::isfinite(v)) << kv_type_name(type);
  EXPECT_EQ(round_trip(KvType::kF16, x)[0], 65504.0f);
  for (const KvType type : kTypes)
    EXPECT_EQ(round_trip(type, std::vector<float>(40, 0.0f)), std::vector<float>(40, 0.0f));
}

TEST(KvPage, AClearedSlotIsAsOneNeverWritten) {
  RandomStream random(2, "clear");
  for (const KvType type : kTypes) {
    const KvShape shape{3, 37, 70, type};
    const auto bytes = static_cast<size_t>(*kv_layer_bytes(shape));
    EXPECT_EQ(kv_block(shape).bytes % kKvAlignment, 0);
    std::vector<std::byte> all(bytes), part(bytes);
    for (int32_t slot = 0; slot < kPageTokens; ++slot) {
      std::vector<float> row(3 * (37 + 70));
      for (float& v : row) v = static_cast<float>(random.next_double() - 0.5);
      kv_store(shape, all.data(), slot, row.data(), row.data() + 3 * 37);
      if (slot < 13) kv_store(shape, part.data(), slot, row.data(), row.data() + 3 * 37);
    }
    EXPECT_NE(std::memcmp(all.data(), part.data(), bytes), 0);
    kv_clear(shape, all.data(), 13);
    EXPECT_EQ(std::memcmp(all.data(), part.data(), bytes), 0) << kv_type_name(type);
  }
}

}  // namespace
}  // namespace geist::kernels
