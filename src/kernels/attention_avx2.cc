#include "kernels/attention_inl.h"
#include "kernels/kernel_fill.h"
#include "kernels/simd_avx2.h"

namespace geist::kernels {

void fill_attention_kernels_avx2(Kernels& k) { fill_attention_kernels<Avx2>(k); }

}  // namespace geist::kernels
