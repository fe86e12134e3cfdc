#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/block.h"

namespace geist::kernels {
namespace {

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }

bool is_f16_nan(uint32_t bits) { return (bits & 0x7fff) > 0x7c00; }

// The value of a finite f16 by its definition, independent of the bit tricks under test.
double f16_value(uint32_t bits) {
  const int exponent = (bits >> 10) & 31;
  const double mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(FloatFormat, F16WidensEveryPattern) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = f16_to_f32(static_cast<uint16_t>(bits));
    EXPECT_EQ(std::signbit(value), bits >= 0x8000);
    if (is_f16_nan(bits)) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_NE(bits_of(value) & 0x00400000, 0u) << "a signalling NaN";
    } else if ((bits & 0x7fff) == 0x7c00) {
      EXPECT_TRUE(std::isinf(value));
    } else {
      ASSERT_EQ(static_cast<double>(value), f16_value(bits)) << bits;
    }
  }
}

TEST(FloatFormat, F16RoundTripsEveryPattern) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint32_t quieted = is_f16_nan(bits) ? bits | 0x0200 : bits;
    ASSERT_EQ(f32_to_f16(f16_to_f32(static_cast<uint16_t>(bits))), quieted);
  }
}

// Between any two neighbours: the midpoint goes to the even one, its f32 neighbours to the nearer.
TEST(FloatFormat, F16RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const double low = f16_value(bits), high = f16_value(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2);
    ASSERT_EQ(f32_to_f16(middle), (bits & 1) == 0 ? bits : bits + 1);
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 0)), bits);
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 1e9f)), bits + 1);
    ASSERT_EQ(f32_to_f16(-middle), 0x8000 | ((bits & 1) == 0 ? bits : bits + 1));
  }
}

TEST(FloatFormat, F16Overflow) {
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e38f), 0xfc00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
  // A NaN whose payload lies below the bits that f16 keeps stays a NaN.
  EXPECT_TRUE(is_f16_nan(f32_to_f16(std::bit_cast<float>(0x7f800001u))));
}

TEST(FloatFormat, Bf16) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = bf16_to_f32(static_cast<uint16_t>(bits));
    ASSERT_EQ(bits_of(value), bits << 16);
    ASSERT_EQ(f32_to_bf16(value), std::isnan(value) ? bits | 0x40 : bits);
  }
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // ties go to even
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7f7fffffu)), 0x7f80);  // overflow
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7f800001u)), 0x7fc0);  // NaN
}

}  // namespace
}  // namespace geist::kernels
