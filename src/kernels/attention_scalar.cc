#include "kernels/attention_inl.h"
#include "kernels/kernel_fill.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

void fill_attention_kernels_scalar(Kernels& k) { fill_attention_kernels<Scalar>(k); }

}  // namespace geist::kernels
