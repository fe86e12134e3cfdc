// The lanes of simd_scalar.h in two AVX2 registers. Needs AVX2, FMA and F16C. Sixteen registers
// hold too few pairs for a tile, so the matrix kernels take the low and the high eight lanes in
// turn (Reg): a lane does not depend on another before the final tree.
#pragma once

#include "kernels/intrinsics_x86.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

struct Avx2 {
  static constexpr int kLanes = 16;
  static constexpr int kAccumulators = 8;
  static constexpr int kTileRows = 4, kTileTokens = 3;
  static constexpr int kDecodeRows = 4;

  struct F {
    __m256 low, high;
  };
  struct I {
    __m256i low, high;
  };
  struct M {
    __m256 low, high;
  };

  // Eight lanes.
  struct Reg {
    using T = __m256;
    static constexpr int kLanes = 8;
    static GEIST_INLINE __m256i first_lanes(int64_t n) {  // n < 0: none, n > 8: all
      const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
      return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n)), lane);
    }
    static GEIST_INLINE T zero() { return _mm256_setzero_ps(); }
    static GEIST_INLINE T set1(float x) { return _mm256_set1_ps(x); }
    static GEIST_INLINE T load(const float* p) { return _mm256_loadu_ps(p); }
    static GEIST_INLINE T load_n(const float* p, int64_t n) {
      return _mm256_maskload_ps(p, first_lanes(n));
    }
    static GEIST_INLINE T load_f16(const void* p) {
      return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    }
    static GEIST_INLINE T load_bf16(const void* p) {
      const __m128i half = _mm_loadu_si128(static_cast<const __m128i*>(p));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    static GEIST_INLINE T load_i8(const void* p) {
      const __m128i code = _mm_loadl_epi64(static_cast<const __m128i*>(p));
      return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(code));
    }
    static GEIST_INLINE T set1_f16(const void* p) {
      int16_t half;
      __builtin_memcpy(&half, p, 2);
      return _mm256_cvtph_ps(_mm_set1_epi16(half));
    }
    static GEIST_INLINE T keep(T a) { return a; }  // three loads a cycle are enough at this width
    static GEIST_INLINE void store(float* p, T a) { _mm256_storeu_ps(p, a); }
    static GEIST_INLINE void store_n(float* p, T a, int64_t n) {
      _mm256_maskstore_ps(p, first_lanes(n), a);
    }
    static GEIST_INLINE T mul(T a, T b) { return _mm256_mul_ps(a, b); }
    static GEIST_INLINE T fma(T a, T b, T c) { return _mm256_fmadd_ps(a, b, c); }
  };

  static GEIST_INLINE F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static GEIST_INLINE F set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static GEIST_INLINE F load(const float* p) {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
  }
  static GEIST_INLINE F load_n(const float* p, int64_t n) {
    return {Reg::load_n(p, n), Reg::load_n(p + 8, n - 8)};
  }
  static GEIST_INLINE void store(float* p, F a) {
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
  }
  static GEIST_INLINE void store_n(float* p, F a, int64_t n) {
    Reg::store_n(p, a.low, n);
    Reg::store_n(p + 8, a.high, n - 8);
  }
  static GEIST_INLINE F load_f16(const void* p) {
    const __m128i* half = static_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(half)), _mm256_cvtph_ps(_mm_loadu_si128(half + 1))};
  }
  static GEIST_INLINE F load_bf16(const void* p) {
    const __m128i* half = static_cast<const __m128i*>(p);
    return {widen_brain(_mm_loadu_si128(half)), widen_brain(_mm_loadu_si128(half + 1))};
  }
  static GEIST_INLINE F load_f16_n(const void* p, int64_t n) {
    alignas(32) uint16_t half[16] = {};
    __builtin_memcpy(half, p, static_cast<size_t>(n) * 2);
    return load_f16(half);
  }
  static GEIST_INLINE F load_bf16_n(const void* p, int64_t n) {
    alignas(32) uint16_t half[16] = {};
    __builtin_memcpy(half, p, static_cast<size_t>(n) * 2);
    return load_bf16(half);
  }

  static GEIST_INLINE F add(F a, F b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
  }
  static GEIST_INLINE F sub(F a, F b) {
    return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
  }
  static GEIST_INLINE F mul(F a, F b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
  }
  static GEIST_INLINE F div(F a, F b) {
    return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
  }
  static GEIST_INLINE F sqrt(F a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
  static GEIST_INLINE F fma(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static GEIST_INLINE F min(F a, F b) {
    return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
  }
  static GEIST_INLINE F max(F a, F b) {
    return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
  }
  static GEIST_INLINE F neg(F a) {
    const __m256 sign_bit = _mm256_set1_ps(-0.0f);
    return {_mm256_xor_ps(a.low, sign_bit), _mm256_xor_ps(a.high, sign_bit)};
  }
  static GEIST_INLINE F abs(F a) {
    const __m256 sign_bit = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign_bit, a.low), _mm256_andnot_ps(sign_bit, a.high)};
  }
  static GEIST_INLINE F copy_sign(F magnitude, F sign) {
    const __m256 sign_bit = _mm256_set1_ps(-0.0f);
    const F m = abs(magnitude);
    return {_mm256_or_ps(m.low, _mm256_and_ps(sign_bit, sign.low)),
            _mm256_or_ps(m.high, _mm256_and_ps(sign_bit, sign.high))};
  }
  static GEIST_INLINE M less(F a, F b) {
    return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
  }
  static GEIST_INLINE M is_nan(F a) {
    return {_mm256_cmp_ps(a.low, a.low, _CMP_UNORD_Q), _mm256_cmp_ps(a.high, a.high, _CMP_UNORD_Q)};
  }
  static GEIST_INLINE __m256 range_of_8(int32_t begin, int32_t end) {
    return _mm256_castsi256_ps(_mm256_andnot_si256(Reg::first_lanes(begin), Reg::first_lanes(end)));
  }
  static GEIST_INLINE M range(int32_t begin, int32_t end) {
    return {range_of_8(begin, end), range_of_8(begin - 8, end - 8)};
  }
  static GEIST_INLINE F select(M m, F yes, F no) {
    return {_mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high)};
  }
  static GEIST_INLINE I bits(F a) {
    return {_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)};
  }
  static GEIST_INLINE F from_bits(I a) {
    return {_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)};
  }
  static GEIST_INLINE I add_int(I a, I b) {
    return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
  }
  template <int kCount>
  static GEIST_INLINE I shift_left(I a) {
    return {_mm256_slli_epi32(a.low, kCount), _mm256_slli_epi32(a.high, kCount)};
  }
  static GEIST_INLINE F count_from(int32_t first) {
    const __m256i step = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    const __m256i low = _mm256_add_epi32(_mm256_set1_epi32(first), step);
    return {_mm256_cvtepi32_ps(low),
            _mm256_cvtepi32_ps(_mm256_add_epi32(low, _mm256_set1_epi32(8)))};
  }

  static GEIST_INLINE float sum(F v) {
    const __m256 a = _mm256_add_ps(v.low, v.high);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
  }
  static GEIST_INLINE void sum4(F a, F b, F c, F d, float* out) {
    const __m256 ab = sum_quarters(a, b),
                 cd = sum_quarters(c, d);  // a, b and c, d in 128-bit halves
    const __m256 pairs =
        _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44),  // a0 a1 c0 c1 | b0 b1 d0 d1
                      _mm256_shuffle_ps(ab, cd, 0xee));
    const __m256 ones = _mm256_add_ps(pairs, _mm256_movehdup_ps(pairs));  // a . c . | b . d .
    const __m128 ac = _mm256_castps256_ps128(ones), bd = _mm256_extractf128_ps(ones, 1);
    _mm_storeu_ps(out, _mm_blend_ps(ac, _mm_moveldup_ps(bd), 0xa));
  }
  static GEIST_INLINE float max_lane(F v) {
    const __m256 a = _mm256_max_ps(v.low, v.high);
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
  }
  static GEIST_INLINE void deinterleave(F a, F b, F& even, F& odd) {
    even = {even_of(a), even_of(b)};
    odd = {odd_of(a), odd_of(b)};
  }
  static GEIST_INLINE void interleave(F even, F odd, F& a, F& b) {
    a = zip(even.low, odd.low);
    b = zip(even.high, odd.high);
  }

 private:
  static GEIST_INLINE __m256 widen_brain(__m128i half) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static GEIST_INLINE __m256 sum_quarters(F a, F b) {
    const __m256 x = _mm256_add_ps(a.low, a.high), y = _mm256_add_ps(b.low, b.high);
    return _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
  }
  // A shuffle of two registers works within 128-bit halves, hence the second step.
  static GEIST_INLINE __m256 in_order(__m256 v) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
  }
  static GEIST_INLINE __m256 even_of(F v) {
    return in_order(_mm256_shuffle_ps(v.low, v.high, 0x88));
  }
  static GEIST_INLINE __m256 odd_of(F v) {
    return in_order(_mm256_shuffle_ps(v.low, v.high, 0xdd));
  }
  static GEIST_INLINE F zip(__m256 even, __m256 odd) {
    const __m256 low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    return {_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)};
  }
};

}  // namespace geist::kernels
