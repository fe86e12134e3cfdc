#include "kernels/kernel_fill.h"
#include "kernels/matmul_float_inl.h"
#include "kernels/simd_avx2.h"

namespace geist::kernels {

void fill_float_kernels_avx2(Kernels& k) { fill_float_kernels<Avx2>(k); }

}  // namespace geist::kernels
