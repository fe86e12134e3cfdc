#include "kernels/kernel_fill.h"
#include "kernels/rows_inl.h"
#include "kernels/simd_neon.h"

namespace geist::kernels {

void fill_row_kernels_neon(Kernels& k) { fill_row_kernels<Neon>(k); }

}  // namespace geist::kernels
