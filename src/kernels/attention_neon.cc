#include "kernels/attention_inl.h"
#include "kernels/kernel_fill.h"
#include "kernels/simd_neon.h"

namespace geist::kernels {

void fill_attention_kernels_neon(Kernels& k) { fill_attention_kernels<Neon>(k); }

}  // namespace geist::kernels
