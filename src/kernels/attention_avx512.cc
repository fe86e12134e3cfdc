#include "kernels/attention_inl.h"
#include "kernels/kernel_fill.h"
#include "kernels/simd_avx512.h"

namespace geist::kernels {

void fill_attention_kernels_avx512(Kernels& k) { fill_attention_kernels<Avx512>(k); }

}  // namespace geist::kernels
