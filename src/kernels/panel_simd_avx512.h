// The operations that panel_inl.h needs, for AVX-512 (F, BW, DQ, VL), with VNNI or without.
#pragma once

#include <cstdint>

#include "kernels/intrinsics_x86.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

template <typename Product>
struct PanelAvx512 {
  static constexpr int kLanes = 16;
  static constexpr int kTilePanels = 2, kTileTokens = 6;
  static constexpr int kFusedTokens = 6;

  using F = __m512;
  using I = __m512i;
  template <int kMaxCode>
  using Dot = typename Product::template Dot<kMaxCode>;

  static GEIST_INLINE F zero() { return _mm512_setzero_ps(); }
  static GEIST_INLINE F splat(float v) { return _mm512_set1_ps(v); }
  static GEIST_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  static GEIST_INLINE void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static GEIST_INLINE __mmask16 first_lanes(int64_t n) {
    return static_cast<__mmask16>((uint32_t{1} << n) - 1);
  }
  // Lanes from n on are neither read nor written; 1 <= n <= 16.
  static GEIST_INLINE F load_first(const float* p, int64_t n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
  }
  static GEIST_INLINE void store_first(float* p, F v, int64_t n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
  }
  static GEIST_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static GEIST_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static GEIST_INLINE F neg(F a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  static GEIST_INLINE F to_float(I a) { return _mm512_cvtepi32_ps(a); }

  // kLanes scales stored as f16, int8, or the nibbles of a byte.
  static GEIST_INLINE F load_f16(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static GEIST_INLINE __m128i load_16(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static GEIST_INLINE F load_int8(const uint8_t* p) {
    return to_float(_mm512_cvtepi8_epi32(load_16(p)));
  }
  static GEIST_INLINE F load_low_nibbles(const uint8_t* p) {
    return to_float(bit_and(_mm512_cvtepu8_epi32(load_16(p)), splat_int(15)));
  }
  static GEIST_INLINE F load_high_nibbles(const uint8_t* p) {
    return to_float(_mm512_srli_epi32(_mm512_cvtepu8_epi32(load_16(p)), 4));
  }

  static GEIST_INLINE I load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static GEIST_INLINE void store_bytes(uint8_t* p, I v) { _mm512_storeu_si512(p, v); }
  static GEIST_INLINE I splat_int(int32_t v) { return _mm512_set1_epi32(v); }
  static GEIST_INLINE I splat_byte(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  static GEIST_INLINE I bit_and(I a, I b) { return _mm512_and_si512(a, b); }
  static GEIST_INLINE I sub_bytes(I a, I b) { return _mm512_sub_epi8(a, b); }
  static GEIST_INLINE I or_masked(I a, I b, I mask) {  // a | (b & mask)
    return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
  }
  // Of 32-bit lanes, to the left; to the right when negative.
  template <int kCount>
  static GEIST_INLINE I shift(I a) {
    if constexpr (kCount > 0) return _mm512_slli_epi32(a, kCount);
    if constexpr (kCount < 0) return _mm512_srli_epi32(a, -kCount);
    return a;
  }
  static GEIST_INLINE I load_table(const uint8_t* p) { return _mm512_broadcast_i32x4(load_16(p)); }
  static GEIST_INLINE I lookup(I table, I index) { return _mm512_shuffle_epi8(table, index); }
};

}  // namespace geist::kernels
