#include "kernels/intrinsics_x86.h"
#include "kernels/kernel_fill.h"
#include "kernels/panel_inl.h"
#include "kernels/panel_pack.h"
#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

// The operations that panel_inl.h needs, for AVX2, FMA and F16C: as PanelAvx512 with 8 lanes.
struct PanelAvx2 {
  static constexpr int kLanes = 8;
  static constexpr int kTilePanels = 1, kTileTokens = 3;
  static constexpr int kFusedTokens = 3;

  using F = __m256;
  using I = __m256i;

  // vpmaddubsw sums two products of an unsigned and a signed byte into 16 bits, saturating: as many
  // of its results are added in 16 bits as can never reach 2^15, then widened.
  template <int kMaxCode>
  struct Dot {
    static constexpr bool kSigned = kMaxCode > 128;
    static constexpr int kAdds = kSigned ? 1 : 32767 / (2 * 127 * kMaxCode);
    static constexpr int kClass = kSigned      ? 255
                                  : kAdds >= 8 ? 15
                                  : kAdds >= 4 ? 31
                                  : kAdds >= 2 ? 63
                                               : 127;
    static_assert(kAdds >= 1);

    Dot() = default;
    GEIST_INLINE explicit Dot(I start) : sum(start) {}
    // w: unsigned, or signed with |w| <= 128 when kSigned; the sign then moves to x.
    static GEIST_INLINE I pairs(I w, I x) {
      if constexpr (!kSigned) return _mm256_maddubs_epi16(w, x);
      return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    }
    template <int kIndex, int kCount>
    GEIST_INLINE void step(I w, I x) {
      part = kIndex % kAdds == 0 ? pairs(w, x) : _mm256_add_epi16(part, pairs(w, x));
      if constexpr (kIndex % kAdds == kAdds - 1 || kIndex == kCount - 1)
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(part, _mm256_set1_epi16(1)));
    }
    I sum, part;
  };

  static GEIST_INLINE F zero() { return _mm256_setzero_ps(); }
  static GEIST_INLINE F splat(float v) { return _mm256_set1_ps(v); }
  static GEIST_INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
  static GEIST_INLINE void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static GEIST_INLINE I first_lanes(int64_t n) {
    const I lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n)), lane);
  }
  static GEIST_INLINE F load_first(const float* p, int64_t n) {
    return n >= kLanes ? load(p) : _mm256_maskload_ps(p, first_lanes(n));
  }
  static GEIST_INLINE void store_first(float* p, F v, int64_t n) {
    n >= kLanes ? store(p, v) : _mm256_maskstore_ps(p, first_lanes(n), v);
  }
  static GEIST_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static GEIST_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static GEIST_INLINE F neg(F a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
  static GEIST_INLINE F to_float(I a) { return _mm256_cvtepi32_ps(a); }

  static GEIST_INLINE F load_f16(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static GEIST_INLINE __m128i load_8(const uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static GEIST_INLINE F load_int8(const uint8_t* p) {
    return to_float(_mm256_cvtepi8_epi32(load_8(p)));
  }
  static GEIST_INLINE F load_low_nibbles(const uint8_t* p) {
    return to_float(bit_and(_mm256_cvtepu8_epi32(load_8(p)), splat_int(15)));
  }
  static GEIST_INLINE F load_high_nibbles(const uint8_t* p) {
    return to_float(_mm256_srli_epi32(_mm256_cvtepu8_epi32(load_8(p)), 4));
  }

  static GEIST_INLINE I load_bytes(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const I*>(p));
  }
  static GEIST_INLINE void store_bytes(uint8_t* p, I v) {
    _mm256_storeu_si256(reinterpret_cast<I*>(p), v);
  }
  static GEIST_INLINE I splat_int(int32_t v) { return _mm256_set1_epi32(v); }
  static GEIST_INLINE I splat_byte(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
  static GEIST_INLINE I bit_and(I a, I b) { return _mm256_and_si256(a, b); }
  static GEIST_INLINE I sub_bytes(I a, I b) { return _mm256_sub_epi8(a, b); }
  static GEIST_INLINE I or_masked(I a, I b, I mask) {
    return _mm256_or_si256(a, _mm256_and_si256(b, mask));
  }
  template <int kCount>
  static GEIST_INLINE I shift(I a) {
    if constexpr (kCount > 0) return _mm256_slli_epi32(a, kCount);
    if constexpr (kCount < 0) return _mm256_srli_epi32(a, -kCount);
    return a;
  }
  static GEIST_INLINE I load_table(const uint8_t* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static GEIST_INLINE I lookup(I table, I index) { return _mm256_shuffle_epi8(table, index); }
};

}  // namespace

void fill_panel_kernels_avx2(Kernels& kernels) {
  kernels.matmul_panels = matmul_panels<PanelAvx2>;
  kernels.pack_panel = pack_panel;
  kernels.quantize_q8 = quantize_q8_avx2;
}

}  // namespace geist::kernels
