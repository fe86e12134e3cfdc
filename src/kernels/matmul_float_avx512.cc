#include "kernels/kernel_fill.h"
#include "kernels/matmul_float_inl.h"
#include "kernels/simd_avx512.h"

namespace geist::kernels {

void fill_float_kernels_avx512(Kernels& k) { fill_float_kernels<Avx512>(k); }

}  // namespace geist::kernels
