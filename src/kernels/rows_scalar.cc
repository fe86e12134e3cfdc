#include "kernels/kernel_fill.h"
#include "kernels/rows_inl.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

void fill_row_kernels_scalar(Kernels& k) { fill_row_kernels<Scalar>(k); }

}  // namespace geist::kernels
