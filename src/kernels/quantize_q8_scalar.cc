#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

// Adding 1.5 * 2^23 leaves no bit below the unit: the addition itself rounds to nearest even.
int8_t round_even(float v) { return static_cast<int8_t>((v + 12582912.0f) - 12582912.0f); }

void quantize_block(const float* x, Q8Block& out) {
  float amax = 0;
  for (int i = 0; i < 32; ++i) {
    const float magnitude = __builtin_fabsf(x[i]);
    amax = magnitude > amax ? magnitude : amax;  // a NaN is never greater
  }
  const float inverse = amax > 0 ? 127.0f / amax : 0.0f;
  for (int i = 0; i < 32; ++i) {
    float v = x[i] * inverse;
    v = v > -127.0f ? v : -127.0f;
    v = v < 127.0f ? v : 127.0f;
    out.codes[i] = round_even(v);
  }
  out.code_sum[0] = out.code_sum[1] = 0;
  for (int i = 0; i < 32; ++i) out.code_sum[i / 16] += out.codes[i];
  out.scale = amax / 127.0f;
  out.sum[0] = out.scale * static_cast<float>(out.code_sum[0]);
  out.sum[1] = out.scale * static_cast<float>(out.code_sum[1]);
  out.sum[2] = out.scale * static_cast<float>(out.code_sum[0] + out.code_sum[1]);
}

}  // namespace

void quantize_q8_scalar(const float* x, int64_t cols, Q8Block* out) {
  for (int64_t b = 0; b < cols / 32; ++b) quantize_block(x + 32 * b, out[b]);
}

}  // namespace geist::kernels
