#include "kernels/kernel_fill.h"
#include "kernels/matmul_float_inl.h"
#include "kernels/simd_neon.h"

namespace geist::kernels {

void fill_float_kernels_neon(Kernels& k) { fill_float_kernels<Neon>(k); }

}  // namespace geist::kernels
