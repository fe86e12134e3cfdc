// Encoders of the K formats with blocks of 256. Each sub-block is searched on its own
// (quantize_search.h), the block's f16 scale is chosen so that the largest sub-block scale takes
// the largest integer, and the codes are rounded last, against the scales as they were stored.
#include <algorithm>
#include <cmath>

#include "kernels/quantize.h"
#include "kernels/quantize_search.h"

namespace geist::kernels {
namespace {

// Larger weights matter more to a product than their share of the squared error says: an error is
// weighted by the size of its weight, over a floor of the sub-block's root mean square.
void magnitude_weights(const float* x, float* w) {
  Lanes squares;
  for (int i = 0; i < 32; ++i) squares.add(i % 8, x[i] * x[i]);
  const float rms = std::sqrt(squares.total() / 32);
  for (int i = 0; i < 32; ++i) w[i] = rms + std::fabs(x[i]);
}

// 8 sub-blocks of 32: weight = d * scale * code - dmin * offset.
struct AffineBlock {
  F16Bytes d, dmin;
  ScalesK4 k;
  uint8_t codes[256];
};

// Stored as round(value / unit), at most 63.
uint8_t six_bits(float value, float unit) {
  return unit > 0 ? static_cast<uint8_t>(round_even(clamp_code(value / unit, 0, 63))) : 0;
}

// The codes of one sub-block against its scale as stored. The offset is fitted once more first: it
// can make good a part of what rounding the scale lost (0.2 to 0.5 % of the error for Q4_K).
void store_sub_block(const float* x, const float* w, const Affine& fit, float code_max, int s,
                     AffineBlock* out) {
  const float d = out->d.value(), dmin = out->dmin.value();
  const auto stored_offset = [&] { return -(dmin * static_cast<float>(out->k.offset[s])); };
  out->k.scale[s] = six_bits(fit.scale, d);
  out->k.offset[s] = six_bits(-fit.offset, dmin);
  const float scale = d * static_cast<float>(out->k.scale[s]);
  const float inverse = scale > 0 ? 1 / scale : 0;
  float codes[32];
  affine_codes<32>(x, inverse, stored_offset(), code_max, codes);
  out->k.offset[s] = six_bits(-best_offset<32>(x, w, codes, scale), dmin);
  affine_codes<32>(x, inverse, stored_offset(), code_max, codes);
  for (int i = 0; i < 32; ++i) out->codes[32 * s + i] = static_cast<uint8_t>(codes[i]);
}

void encode_affine(const float* x, const AffineSearch& search, AffineBlock* out) {
  Affine fits[8];
  float weights[8][32];
  float scale_max = 0, offset_max = 0;
  for (int s = 0; s < 8; ++s) {
    magnitude_weights(x + 32 * s, weights[s]);
    fits[s] = search_affine<32>(x + 32 * s, weights[s], search);
    scale_max = std::max(scale_max, fits[s].scale);
    offset_max = std::max(offset_max, -fits[s].offset);
  }
  out->d = F16Bytes::saturated(scale_max / 63);
  out->dmin = F16Bytes::saturated(offset_max / 63);
  for (int s = 0; s < 8; ++s) {
    store_sub_block(x + 32 * s, weights[s], fits[s], search.code_max, s, out);
  }
}

}  // namespace

void quantize_block_q4_k(const float* x, uint8_t* block) {
  AffineBlock a;
  encode_affine(x, {.code_max = 15, .first = -1.0f, .steps = 21}, &a);
  auto& b = *reinterpret_cast<BlockQ4_K*>(block);
  b.d = a.d;
  b.dmin = a.dmin;
  pack_scales_k4(a.k, b.scales);
  for (int i = 0; i < 128; ++i) {
    const uint8_t* codes = a.codes + i / 32 * 64 + i % 32;
    b.q[i] = static_cast<uint8_t>(codes[0] | (codes[32] << 4));
  }
}

void quantize_block_q5_k(const float* x, uint8_t* block) {
  AffineBlock a;
  encode_affine(x, {.code_max = 31, .first = -0.5f, .steps = 16}, &a);
  auto& b = *reinterpret_cast<BlockQ5_K*>(block);
  b.d = a.d;
  b.dmin = a.dmin;
  pack_scales_k4(a.k, b.scales);
  for (int i = 0; i < 128; ++i) {
    const uint8_t* codes = a.codes + i / 32 * 64 + i % 32;
    b.q[i] = static_cast<uint8_t>((codes[0] & 15) | ((codes[32] & 15) << 4));
  }
  for (int l = 0; l < 32; ++l) {
    int high = 0;
    for (int s = 0; s < 8; ++s) high |= (a.codes[32 * s + l] >> 4) << s;
    b.qh[l] = static_cast<uint8_t>(high);
  }
}

void quantize_block_q6_k(const float* x, uint8_t* block) {
  auto& b = *reinterpret_cast<BlockQ6_K*>(block);
  float scales[16], extreme = 0;
  for (int s = 0; s < 16; ++s) {
    float w[16];
    for (int i = 0; i < 16; ++i) w[i] = x[16 * s + i] * x[16 * s + i];
    scales[s] = search_symmetric<16>(x + 16 * s, w, 31, 9);
    if (std::fabs(scales[s]) > std::fabs(extreme)) extreme = scales[s];
  }
  b.d = F16Bytes::saturated(extreme / -128);
  const float d = b.d.value();
  uint8_t codes[256];
  for (int s = 0; s < 16; ++s) {
    const float stored = d != 0 ? round_even(clamp_code(scales[s] / d, -128, 127)) : 0;
    b.scales[s] = static_cast<int8_t>(stored);
    const float scale = d * stored;
    float rounded[16];
    symmetric_codes<16>(x + 16 * s, scale != 0 ? 1 / scale : 0, 31, rounded);
    for (int i = 0; i < 16; ++i) codes[16 * s + i] = static_cast<uint8_t>(rounded[i] + 32);
  }
  for (int half = 0; half < 2; ++half) {
    const uint8_t* c = codes + 128 * half;
    for (int l = 0; l < 64; ++l) {
      b.q[64 * half + l] = static_cast<uint8_t>((c[l] & 15) | ((c[64 + l] & 15) << 4));
    }
    for (int l = 0; l < 32; ++l) {
      b.qh[32 * half + l] = static_cast<uint8_t>((c[l] >> 4) | ((c[32 + l] >> 4) << 2) |
                                                 ((c[64 + l] >> 4) << 4) | ((c[96 + l] >> 4) << 6));
    }
  }
}

}  // namespace geist::kernels
