#include "kernels/kernel_fill.h"
#include "kernels/panel_inl.h"
#include "kernels/panel_pack.h"
#include "kernels/panel_simd_neon.h"
#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

// Products of bytes in 16 bits, which cannot overflow, then added in pairs twice.
struct MultiplyLong {
  static GEIST_INLINE int32x4_t add(int32x4_t sum, int8x16_t w, int8x16_t x) {
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x)), high = vmull_high_s8(w, x);
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
  }
};

}  // namespace

void fill_panel_kernels_neon(Kernels& kernels) {
  kernels.matmul_panels = matmul_panels<PanelNeon<MultiplyLong>>;
  kernels.pack_panel = pack_panel;
  kernels.quantize_q8 = quantize_q8_neon;
}

}  // namespace geist::kernels
