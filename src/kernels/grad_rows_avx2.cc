#include "kernels/grad_fill.h"
#include "kernels/grad_rows_inl.h"
#include "kernels/simd_avx2.h"

namespace geist::kernels {

void fill_grad_rows_avx2(GradKernels& k) { fill_grad_rows<Avx2>(k); }

}  // namespace geist::kernels
