// Encoders of the formats with one scale for 32 weights.
#include <array>
#include <cmath>

#include "kernels/quantize.h"
#include "kernels/quantize_search.h"

namespace geist::kernels {
namespace {

constexpr std::array<float, 32> kEvenWeights = [] {
  std::array<float, 32> w{};
  w.fill(1);
  return w;
}();

float inverse_or_zero(float x) { return x != 0 ? 1 / x : 0; }

void encode_symmetric(const float* x, float code_max, F16Bytes* d, float* codes) {
  *d = F16Bytes::saturated(search_symmetric<32>(x, kEvenWeights.data(), code_max, 9));
  symmetric_codes<32>(x, inverse_or_zero(d->value()), code_max, codes);
}

// Low 4 bits of code + zero: code j in the low half of byte j, code 16 + j in its high half.
void pack_nibbles(const float* codes, int zero, uint8_t* q) {
  for (int j = 0; j < 16; ++j) {
    const int low = static_cast<int>(codes[j]) + zero,
              high = static_cast<int>(codes[16 + j]) + zero;
    q[j] = static_cast<uint8_t>((low & 15) | ((high & 15) << 4));
  }
}

// Bit 4 of code + zero: bit j of the 32.
void pack_high_bits(const float* codes, int zero, uint8_t* qh) {
  for (int i = 0; i < 4; ++i) {
    int bits = 0;
    for (int j = 0; j < 8; ++j) bits |= ((static_cast<int>(codes[8 * i + j]) + zero) >> 4) << j;
    qh[i] = static_cast<uint8_t>(bits);
  }
}

}  // namespace

// The same bytes as ggml's encoder: the largest magnitude becomes +-127, codes are rounded half
// away from zero against the scale before it is stored as f16.
void quantize_block_q8_0(const float* x, uint8_t* block) {
  auto& b = *reinterpret_cast<BlockQ8_0*>(block);
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::fmax(largest, std::fabs(x[i]));
  const float d = largest / 127;
  const float inverse = inverse_or_zero(d);
  b.d = F16Bytes::saturated(d);
  for (int i = 0; i < 32; ++i) {
    const float scaled = clamp_code(x[i] * inverse, -127, 127);
    b.q[i] = static_cast<uint8_t>(static_cast<int>(scaled + std::copysign(0.5f, scaled)));
  }
}

void quantize_block_q4_0(const float* x, uint8_t* block) {
  auto& b = *reinterpret_cast<BlockQ4_0*>(block);
  float codes[32];
  encode_symmetric(x, 7, &b.d, codes);
  pack_nibbles(codes, 8, b.q);
}

void quantize_block_q5_0(const float* x, uint8_t* block) {
  auto& b = *reinterpret_cast<BlockQ5_0*>(block);
  float codes[32];
  encode_symmetric(x, 15, &b.d, codes);
  pack_nibbles(codes, 16, b.q);
  pack_high_bits(codes, 16, b.qh);
}

void quantize_block_q5_1(const float* x, uint8_t* block) {
  auto& b = *reinterpret_cast<BlockQ5_1*>(block);
  const Affine fit = search_affine<32>(
      x, kEvenWeights.data(), {.code_max = 31, .first = -0.5f, .steps = 16, .free_offset = true});
  b.d = F16Bytes::saturated(fit.scale);
  b.m = F16Bytes::saturated(fit.offset);
  float codes[32];
  affine_codes<32>(x, inverse_or_zero(b.d.value()), b.m.value(), 31, codes);
  pack_nibbles(codes, 0, b.q);
  pack_high_bits(codes, 0, b.qh);
}

}  // namespace geist::kernels
