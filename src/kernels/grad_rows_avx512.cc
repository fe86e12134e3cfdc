#include "kernels/grad_fill.h"
#include "kernels/grad_rows_inl.h"
#include "kernels/simd_avx512.h"

namespace geist::kernels {

void fill_grad_rows_avx512(GradKernels& k) { fill_grad_rows<Avx512>(k); }

}  // namespace geist::kernels
