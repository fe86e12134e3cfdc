#include "kernels/grad_fill.h"
#include "kernels/grad_matmul_inl.h"
#include "kernels/simd_avx512.h"

namespace geist::kernels {

void fill_grad_matmul_avx512(GradKernels& k) { fill_grad_matmul<Avx512, 12, 2>(k); }

}  // namespace geist::kernels
