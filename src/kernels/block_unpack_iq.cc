// The IQ formats: magnitudes of 4 or 8 weights come from a code book (iq_tables.h), their signs
// from bits beside it. IQ4 has 16 uneven levels instead.
//
// A scale is an f16 times half an odd integer of 5 bits (or an integer of 6) and a power of two:
// exact in f32, and so are the products with codes.
#include <bit>

#include "kernels/block_layout.h"
#include "kernels/iq_tables.h"

namespace geist::kernels {
namespace {

// 7 stored sign bits; the eighth makes the number of minus signs even.
uint32_t with_parity(uint32_t signs7) {
  return signs7 | ((static_cast<uint32_t>(std::popcount(signs7)) & 1u) << 7);
}

// Magnitudes with a minus where the sign bit is set; n is 4 or 8.
template <size_t n>
void signed_copy(const std::array<int8_t, n>& magnitudes, uint32_t signs, int8_t* codes) {
  for (size_t j = 0; j < n; ++j) {
    const int minus = -static_cast<int>((signs >> j) & 1u);  // 0 or -1, all bits set
    codes[j] = static_cast<int8_t>((magnitudes[j] ^ minus) - minus);
  }
}

// d * (stored + 1/2) * unit
float half_step_scale(float d, uint32_t stored, float unit) {
  return d * (0.5f + static_cast<float>(stored)) * unit;
}

void unpack_iq4_levels(const uint8_t* q, int8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = kIq4Levels[q[j] & 15];
    codes[16 + j] = kIq4Levels[q[j] >> 4];
  }
}

}  // namespace

void unpack_block_iq2_xxs(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockIQ2_XXS*>(block);
  const float d = b.d.value();
  for (int s = 0; s < 8; ++s) {
    const uint8_t* q = b.q + 8 * s;
    const uint32_t signs_scale = load_u32(q + 4);
    scales[s] = half_step_scale(d, signs_scale >> 28, 0.25f);
    for (int l = 0; l < 4; ++l) {
      const uint32_t signs = with_parity((signs_scale >> (7 * l)) & 127);
      signed_copy(kIq2XxsGrid[q[l]], signs, codes + 32 * s + 8 * l);
    }
  }
}

void unpack_block_iq2_xs(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockIQ2_XS*>(block);
  const float d = b.d.value();
  for (int s = 0; s < 8; ++s) {
    scales[2 * s] = half_step_scale(d, b.scales[s] & 15, 0.25f);
    scales[2 * s + 1] = half_step_scale(d, b.scales[s] >> 4, 0.25f);
  }
  for (int i = 0; i < 32; ++i) {
    const uint32_t entry = load_u16(b.q + 2 * i);
    signed_copy(kIq2XsGrid[entry & 511], with_parity(entry >> 9), codes + 8 * i);
  }
}

void unpack_block_iq2_s(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockIQ2_S*>(block);
  const float d = b.d.value();
  for (int s = 0; s < 8; ++s) {
    scales[2 * s] = half_step_scale(d, b.scales[s] & 15, 0.25f);
    scales[2 * s + 1] = half_step_scale(d, b.scales[s] >> 4, 0.25f);
    for (int l = 0; l < 4; ++l) {
      const int i = 4 * s + l;
      const uint32_t index = b.q[i] | (((b.qh[s] >> (2 * l)) & 3u) << 8);
      signed_copy(kIq2SGrid[index], b.signs[i], codes + 8 * i);
    }
  }
}

void unpack_block_iq3_xxs(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockIQ3_XXS*>(block);
  const float d = b.d.value();
  for (int s = 0; s < 8; ++s) {
    const uint32_t signs_scale = load_u32(b.scales_signs + 4 * s);
    scales[s] = half_step_scale(d, signs_scale >> 28, 0.5f);
    for (int l = 0; l < 4; ++l) {
      const uint32_t signs = with_parity((signs_scale >> (7 * l)) & 127);
      const uint8_t* q = b.q + 8 * s + 2 * l;
      int8_t* out = codes + 32 * s + 8 * l;
      signed_copy(kIq3XxsGrid[q[0]], signs, out);
      signed_copy(kIq3XxsGrid[q[1]], signs >> 4, out + 4);
    }
  }
}

void unpack_block_iq3_s(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockIQ3_S*>(block);
  const float d = b.d.value();
  for (int s = 0; s < 8; ++s) {
    const int stored = (b.scales[s / 2] >> (4 * (s % 2))) & 15;
    scales[s] = d * static_cast<float>(1 + 2 * stored);
    for (int l = 0; l < 8; ++l) {
      const int i = 8 * s + l;
      const uint32_t index = b.q[i] | (((b.qh[s] >> l) & 1u) << 8);
      signed_copy(kIq3SGrid[index], static_cast<uint32_t>(b.signs[i / 2]) >> (4 * (i % 2)),
                  codes + 4 * i);
    }
  }
}

void unpack_block_iq4_nl(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockIQ4_NL*>(block);
  scales[0] = b.d.value();
  unpack_iq4_levels(b.q, codes);
}

void unpack_block_iq4_xs(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockIQ4_XS*>(block);
  const float d = b.d.value();
  const uint32_t scales_h = load_u16(b.scales_h);
  for (int s = 0; s < 8; ++s) {
    const uint32_t low = (b.scales_l[s / 2] >> (4 * (s % 2))) & 15u;
    const uint32_t high = (scales_h >> (2 * s)) & 3u;
    scales[s] = d * static_cast<float>(static_cast<int>(low | (high << 4)) - 32);
    unpack_iq4_levels(b.q + 16 * s, codes + 32 * s);
  }
}

}  // namespace geist::kernels
