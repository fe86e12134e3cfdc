#include "kernels/grad_fill.h"
#include "kernels/grad_matmul_inl.h"
#include "kernels/simd_avx2.h"

namespace geist::kernels {

void fill_grad_matmul_avx2(GradKernels& k) { fill_grad_matmul<Avx2, 6, 2>(k); }

}  // namespace geist::kernels
