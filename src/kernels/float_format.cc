// Conversions between f32 and the 16-bit formats, in integer arithmetic: the same bits as the F16C
// instructions, NaN payloads included, so that every variant of a kernel agrees with this one.
#include <bit>

#include "kernels/block.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {
namespace {

constexpr uint32_t kF32Infinity = 0x7f800000;
// Difference of the exponent biases of f32 (127) and f16 (15), in place.
constexpr uint32_t kRebias = (127u - 15u) << 23;

}  // namespace

float f16_to_f32(uint16_t bits) { return widen_f16(bits); }

uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t out;
  if (magnitude > kF32Infinity) {
    out = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
    out = 0x7c00u;
  } else if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is a multiple of 2^-24, which is the spacing of f32 at 0.5: the
    // addition rounds to nearest even for us.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    out = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f);
  } else {
    const uint32_t round = 0x0fffu + ((magnitude >> 13) & 1u);
    out = (magnitude - kRebias + round) >> 13;
  }
  return static_cast<uint16_t>(sign | out);
}

float bf16_to_f32(uint16_t bits) { return widen_bf16(bits); }

uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > kF32Infinity) {
    return static_cast<uint16_t>((bits >> 16) | 0x0040u);  // keep a NaN a NaN, and quiet
  }
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace geist::kernels
