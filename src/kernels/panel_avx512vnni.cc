#include "kernels/kernel_fill.h"
#include "kernels/panel_inl.h"
#include "kernels/panel_pack.h"
#include "kernels/panel_simd_avx512.h"
#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

// vpdpbusd sums four products into 32 bits without saturating on the way.
struct Vnni {
  template <int kMaxCode>
  struct Dot {
    static constexpr bool kSigned = false;
    static constexpr int kClass = 255;  // one code for all operands

    Dot() = default;
    GEIST_INLINE explicit Dot(__m512i start) : sum(start) {}
    template <int kIndex, int kCount>
    GEIST_INLINE void step(__m512i w, __m512i x) {
      sum = _mm512_dpbusd_epi32(sum, w, x);
    }
    __m512i sum;
  };
};

}  // namespace

void matmul_panels_avx512vnni(TensorType type, const std::byte* panels, int64_t rows, int64_t cols,
                              const Q8Block* x, int64_t tokens, float* y, int64_t y_stride) {
  matmul_panels<PanelAvx512<Vnni>>(type, panels, rows, cols, x, tokens, y, y_stride);
}

void fill_panel_kernels_avx512vnni(Kernels& kernels) {
  kernels.matmul_panels = matmul_panels_avx512vnni;
  kernels.pack_panel = pack_panel;
  kernels.quantize_q8 = quantize_q8_avx2;
}

}  // namespace geist::kernels
