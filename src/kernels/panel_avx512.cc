#include "kernels/kernel_fill.h"
#include "kernels/panel_inl.h"
#include "kernels/panel_pack.h"
#include "kernels/panel_simd_avx512.h"
#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

// vpmaddubsw sums two products of an unsigned and a signed byte into 16 bits, saturating: as many
// of its results are added in 16 bits as can never reach 2^15, then widened.
struct MultiplyAddBytes {
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
    GEIST_INLINE explicit Dot(__m512i start) : sum(start) {}
    // w: unsigned, or signed with |w| <= 128 when kSigned; the sign then moves to x.
    static GEIST_INLINE __m512i pairs(__m512i w, __m512i x) {
      if constexpr (!kSigned) return _mm512_maddubs_epi16(w, x);
      const __m512i moved =
          _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
      return _mm512_maddubs_epi16(_mm512_abs_epi8(w), moved);
    }
    template <int kIndex, int kCount>
    GEIST_INLINE void step(__m512i w, __m512i x) {
      part = kIndex % kAdds == 0 ? pairs(w, x) : _mm512_add_epi16(part, pairs(w, x));
      if constexpr (kIndex % kAdds == kAdds - 1 || kIndex == kCount - 1)
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(part, _mm512_set1_epi16(1)));
    }
    __m512i sum, part;
  };
};

}  // namespace

void fill_panel_kernels_avx512(Kernels& kernels) {
  kernels.matmul_panels = matmul_panels<PanelAvx512<MultiplyAddBytes>>;
  kernels.pack_panel = pack_panel;
  kernels.quantize_q8 = quantize_q8_avx2;
}

}  // namespace geist::kernels
