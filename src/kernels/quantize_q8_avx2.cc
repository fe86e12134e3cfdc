// Lane by lane the operations of quantize_q8_scalar.cc; maximum and sums of integers have no order.
#include "kernels/intrinsics_x86.h"
#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

float largest_magnitude(const float* x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 m = _mm256_setzero_ps();
  // max(a, m) is a > m ? a : m: a NaN is never greater.
  for (int i = 0; i < 32; i += 8)
    m = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)), m);
  __m128 a = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
  a = _mm_max_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

__m256i round_scaled(const float* x, __m256 inverse) {
  __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x), inverse);
  v = _mm256_max_ps(v, _mm256_set1_ps(-127.0f));  // a NaN becomes -127
  v = _mm256_min_ps(v, _mm256_set1_ps(127.0f));
  return _mm256_cvtps_epi32(v);
}

int32_t sum4(__m128i v) {
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1));
  return _mm_cvtsi128_si32(v);
}

void quantize_block(const float* x, Q8Block& out) {
  const float amax = largest_magnitude(x);
  const __m256 inverse = _mm256_set1_ps(amax > 0 ? 127.0f / amax : 0.0f);
  const __m256i a = _mm256_packs_epi32(round_scaled(x, inverse), round_scaled(x + 8, inverse));
  const __m256i b =
      _mm256_packs_epi32(round_scaled(x + 16, inverse), round_scaled(x + 24, inverse));
  // Packing works on 128-bit halves; the permutation puts groups of four back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.codes), codes);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
  const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  out.code_sum[0] = sum4(_mm256_castsi256_si128(fours));
  out.code_sum[1] = sum4(_mm256_extracti128_si256(fours, 1));
  out.scale = amax / 127.0f;
  out.sum[0] = out.scale * static_cast<float>(out.code_sum[0]);
  out.sum[1] = out.scale * static_cast<float>(out.code_sum[1]);
  out.sum[2] = out.scale * static_cast<float>(out.code_sum[0] + out.code_sum[1]);
}

}  // namespace

void quantize_q8_avx2(const float* x, int64_t cols, Q8Block* out) {
  for (int64_t b = 0; b < cols / 32; ++b) quantize_block(x + 32 * b, out[b]);
}

}  // namespace geist::kernels
