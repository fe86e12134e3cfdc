#include "kernels/kernel_fill.h"
#include "kernels/matmul_float_inl.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

void fill_float_kernels_scalar(Kernels& k) { fill_float_kernels<Scalar>(k); }

}  // namespace geist::kernels
