// fma_from_doubles against the processor's instruction, or fmaf of the C library where there is
// none: halfway cases, cancellation, subnormals, overflow, infinities, NaN.
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/kernel_test_support.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {
namespace {

#if defined(__x86_64__)
__attribute__((target("fma"))) float instruction(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
#endif

float reference(float a, float b, float c) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("fma")) return instruction(a, b, c);
#endif
  return std::fma(a, b, c);
}

::testing::AssertionResult same(float a, float b, float c) {
  const float got = fma_from_doubles(a, b, c), want = reference(a, b, c);
  // Which NaN comes out is not defined by IEEE-754.
  if (std::isnan(want) ? std::isnan(got) : bit_copy<uint32_t>(got) == bit_copy<uint32_t>(want))
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << std::hexfloat << "fma(" << a << ", " << b << ", " << c
                                       << ") is " << want << ", not " << got;
}

TEST(Fma, SpecialValues) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  std::vector<float> values;
  for (const float x : {0.0f,
                        1.0f,
                        1.5f,
                        0x1.000002p0f,
                        0x1.fffffep0f,
                        0x1.000002p-12f,
                        0x1p12f,
                        3.0f,
                        0x1p-24f,
                        0x1p-25f,
                        0x1p-126f,
                        0x1p-127f,
                        0x1p-149f,
                        0x1.8p-148f,
                        0x1.fffffcp-127f,
                        0x1p-63f,
                        0x1p-75f,
                        0x1p64f,
                        0x1.fffffep127f,
                        0x1.fffffep126f,
                        inf,
                        std::nanf("")}) {
    values.push_back(x);
    values.push_back(-x);
  }
  for (const float a : values)
    for (const float b : values)
      for (const float c : values) ASSERT_TRUE(same(a, b, c));
}

// Every pattern of bits, so that exponents are far apart as a rule.
TEST(Fma, AnyBits) {
  RandomStream random(1, "fma bits");
  const auto any = [&] { return bit_copy<float>(static_cast<uint32_t>(random.next_u64())); };
  for (int i = 0; i < 2000000; ++i) {
    const float a = any(), b = any(), c = any();
    ASSERT_TRUE(same(a, b, c));
  }
}

// Sums near 0, near a tie between two floats, and at the end of the range, where the error of the
// double sum decides: c is placed at every distance from the product.
TEST(Fma, ExponentsThatMeet) {
  RandomStream random(2, "fma ties");
  const auto mantissa = [&] {  // few bits set, or any: 1 to 2
    const auto bits = static_cast<uint32_t>(random.next_u64());
    const auto mask =
        static_cast<uint32_t>(random.next_u64()) & static_cast<uint32_t>(random.next_u64());
    return bit_copy<float>(0x3f800000u |
                           ((bits & (random.next_below(2) == 0 ? mask : ~0u)) & 0x7fffffu));
  };
  const auto between = [&](int low, int high) {
    return low + static_cast<int>(random.next_below(static_cast<uint64_t>(high - low + 1)));
  };
  for (int i = 0; i < 2000000; ++i) {
    const int exponent = between(0, 2) == 0 ? between(-160, -120) : between(-60, 128);
    const int split = between(-20, 20);
    const float a = std::ldexp(mantissa(), split), b = std::ldexp(mantissa(), exponent - split);
    const float sign = random.next_below(2) == 0 ? 1.0f : -1.0f;
    float c = sign * std::ldexp(mantissa(), exponent + between(-55, 55));
    if (i % 4 == 0) c = std::nextafter(-(a * b), sign * 1e30f);  // cancels all but the last bits
    ASSERT_TRUE(same(a, b, c));
  }
}

}  // namespace
}  // namespace geist::kernels
