#include "kernels/kernel_fill.h"
#include "kernels/rows_inl.h"
#include "kernels/simd_avx512.h"

namespace geist::kernels {

void fill_row_kernels_avx512(Kernels& k) { fill_row_kernels<Avx512>(k); }

}  // namespace geist::kernels
