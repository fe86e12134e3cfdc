#include "kernels/kernel_fill.h"
#include "kernels/rows_inl.h"
#include "kernels/simd_avx2.h"

namespace geist::kernels {

void fill_row_kernels_avx2(Kernels& k) { fill_row_kernels<Avx2>(k); }

}  // namespace geist::kernels
