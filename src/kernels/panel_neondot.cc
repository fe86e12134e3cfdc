#include "kernels/kernel_fill.h"
#include "kernels/panel_inl.h"
#include "kernels/panel_pack.h"
#include "kernels/panel_simd_neon.h"
#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

// sdot sums four products into 32 bits.
struct DotProduct {
  static GEIST_INLINE int32x4_t add(int32x4_t sum, int8x16_t w, int8x16_t x) {
    return vdotq_s32(sum, w, x);
  }
};

}  // namespace

void fill_panel_kernels_neondot(Kernels& kernels) {
  kernels.matmul_panels = matmul_panels<PanelNeon<DotProduct>>;
  kernels.pack_panel = pack_panel;
  kernels.quantize_q8 = quantize_q8_neon;
}

}  // namespace geist::kernels
