// Lane by lane the operations of quantize_q8_scalar.cc; maximum and sums of integers have no order.
#include <arm_neon.h>

#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

float largest_magnitude(const float* x) {
  float32x4_t m = vdupq_n_f32(0.0f);
  for (int i = 0; i < 32; i += 4) {
    const float32x4_t a = vabsq_f32(vld1q_f32(x + i));
    m = vbslq_f32(vcgtq_f32(a, m), a, m);  // a NaN is never greater
  }
  return vmaxvq_f32(m);
}

int16x4_t round_scaled(const float* x, float32x4_t inverse) {
  const float32x4_t low = vdupq_n_f32(-127.0f), high = vdupq_n_f32(127.0f);
  float32x4_t v = vmulq_f32(vld1q_f32(x), inverse);
  v = vbslq_f32(vcgtq_f32(v, low), v, low);  // a NaN becomes -127
  v = vbslq_f32(vcltq_f32(v, high), v, high);
  return vmovn_s32(vcvtnq_s32_f32(v));
}

int8x16_t codes_of_half(const float* x, float32x4_t inverse) {
  const int16x8_t a = vcombine_s16(round_scaled(x, inverse), round_scaled(x + 4, inverse));
  const int16x8_t b = vcombine_s16(round_scaled(x + 8, inverse), round_scaled(x + 12, inverse));
  return vcombine_s8(vmovn_s16(a), vmovn_s16(b));
}

void quantize_block(const float* x, Q8Block& out) {
  const float amax = largest_magnitude(x);
  const float32x4_t inverse = vdupq_n_f32(amax > 0 ? 127.0f / amax : 0.0f);
  for (int h = 0; h < 2; ++h) {
    const int8x16_t codes = codes_of_half(x + 16 * h, inverse);
    vst1q_s8(out.codes + 16 * h, codes);
    out.code_sum[h] = vaddlvq_s8(codes);
  }
  out.scale = amax / 127.0f;
  out.sum[0] = out.scale * static_cast<float>(out.code_sum[0]);
  out.sum[1] = out.scale * static_cast<float>(out.code_sum[1]);
  out.sum[2] = out.scale * static_cast<float>(out.code_sum[0] + out.code_sum[1]);
}

}  // namespace

void quantize_q8_neon(const float* x, int64_t cols, Q8Block* out) {
  for (int64_t b = 0; b < cols / 32; ++b) quantize_block(x + 32 * b, out[b]);
}

}  // namespace geist::kernels
