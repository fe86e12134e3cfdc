// The lanes of simd_scalar.h in one AVX-512 register. Needs F, BW, DQ and VL.
#pragma once

#include "kernels/intrinsics_x86.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr int kAccumulators = 16;  // of 32 registers; 8 would hide the latency of an FMA
  static constexpr int kTileRows = 8, kTileTokens = 3;
  static constexpr int kDecodeRows = 8;

  using F = __m512;
  using I = __m512i;
  using M = __mmask16;

  static GEIST_INLINE M first_lanes(int64_t n) {  // 0 <= n <= 16
    return static_cast<M>((uint32_t{1} << n) - 1);
  }
  static GEIST_INLINE F zero() { return _mm512_setzero_ps(); }
  static GEIST_INLINE F set1(float x) { return _mm512_set1_ps(x); }
  static GEIST_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  static GEIST_INLINE F load_n(const float* p, int64_t n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
  }
  static GEIST_INLINE void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static GEIST_INLINE void store_n(float* p, F a, int64_t n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), a);
  }
  static GEIST_INLINE F widen_half(__m256i h) { return _mm512_cvtph_ps(h); }
  static GEIST_INLINE F widen_brain(__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
  static GEIST_INLINE F load_f16(const void* p) {
    return widen_half(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static GEIST_INLINE F load_f16_n(const void* p, int64_t n) {
    return widen_half(_mm256_maskz_loadu_epi16(first_lanes(n), p));
  }
  static GEIST_INLINE F load_bf16(const void* p) {
    return widen_brain(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static GEIST_INLINE F load_bf16_n(const void* p, int64_t n) {
    return widen_brain(_mm256_maskz_loadu_epi16(first_lanes(n), p));
  }

  static GEIST_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static GEIST_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static GEIST_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static GEIST_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  static GEIST_INLINE F sqrt(F a) { return _mm512_sqrt_ps(a); }
  static GEIST_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static GEIST_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
  static GEIST_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  static GEIST_INLINE F neg(F a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  static GEIST_INLINE F abs(F a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
  static GEIST_INLINE F copy_sign(F magnitude, F sign) {
    const F sign_bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(sign_bit, magnitude), _mm512_and_ps(sign_bit, sign));
  }
  static GEIST_INLINE M less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static GEIST_INLINE M is_nan(F a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
  static GEIST_INLINE M range(int32_t begin, int32_t end) {
    const int32_t b = begin < 0 ? 0 : (begin > 16 ? 16 : begin);
    const int32_t e = end < 0 ? 0 : (end > 16 ? 16 : end);
    return static_cast<M>(first_lanes(e) & ~first_lanes(b));
  }
  static GEIST_INLINE F select(M m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }
  static GEIST_INLINE I bits(F a) { return _mm512_castps_si512(a); }
  static GEIST_INLINE F from_bits(I a) { return _mm512_castsi512_ps(a); }
  static GEIST_INLINE I add_int(I a, I b) { return _mm512_add_epi32(a, b); }
  template <int kCount>
  static GEIST_INLINE I shift_left(I a) {
    return _mm512_slli_epi32(a, kCount);
  }
  static GEIST_INLINE F count_from(int32_t first) {
    const I step = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_set1_epi32(first), step));
  }

  static GEIST_INLINE float sum(F v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
  }
  static GEIST_INLINE void sum4(F a, F b, F c, F d, float* out) {
    // Halves, then quarters, of two and four vectors at a time: quarter i then holds vector i.
    const F ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const F cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const F q =
        _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    const F pair = _mm512_add_ps(q, _mm512_permute_ps(q, 0x4e));
    const F one = _mm512_add_ps(pair, _mm512_permute_ps(pair, 0xb1));
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, one)));
  }
  static GEIST_INLINE float max_lane(F v) {
    const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
  }
  static GEIST_INLINE void deinterleave(F a, F b, F& even, F& odd) {
    const I index = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    even = _mm512_permutex2var_ps(a, index, b);
    odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(index, _mm512_set1_epi32(1)), b);
  }
  static GEIST_INLINE void interleave(F even, F odd, F& a, F& b) {
    const I index = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    a = _mm512_permutex2var_ps(even, index, odd);
    b = _mm512_permutex2var_ps(even, _mm512_add_epi32(index, _mm512_set1_epi32(8)), odd);
  }

  struct Reg {
    using T = F;
    static constexpr int kLanes = 16;
    static GEIST_INLINE T zero() { return Avx512::zero(); }
    static GEIST_INLINE T set1(float x) { return Avx512::set1(x); }
    static GEIST_INLINE T load(const float* p) { return Avx512::load(p); }
    static GEIST_INLINE T load_n(const float* p, int64_t n) { return Avx512::load_n(p, n); }
    static GEIST_INLINE T load_f16(const void* p) { return Avx512::load_f16(p); }
    static GEIST_INLINE T load_bf16(const void* p) { return Avx512::load_bf16(p); }
    static GEIST_INLINE T load_i8(const void* p) {
      const __m128i code = _mm_loadu_si128(static_cast<const __m128i*>(p));
      return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(code));
    }
    static GEIST_INLINE T set1_f16(const void* p) {
      int16_t half;
      __builtin_memcpy(&half, p, 2);
      return widen_half(_mm256_set1_epi16(half));
    }
    // Holds a in a register: without it GCC turns each use into a load of its own, and the loads
    // become the bottleneck.
    static GEIST_INLINE T keep(T a) {
      __asm__("" : "+v"(a));
      return a;
    }
    static GEIST_INLINE void store(float* p, T a) { Avx512::store(p, a); }
    static GEIST_INLINE void store_n(float* p, T a, int64_t n) { Avx512::store_n(p, a, n); }
    static GEIST_INLINE T mul(T a, T b) { return Avx512::mul(a, b); }
    static GEIST_INLINE T fma(T a, T b, T c) { return Avx512::fma(a, b, c); }
  };
};

}  // namespace geist::kernels
