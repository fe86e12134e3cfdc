#include "kernels/grad_fill.h"
#include "kernels/grad_matmul_inl.h"
#include "kernels/simd_neon.h"

namespace geist::kernels {

void fill_grad_matmul_neon(GradKernels& k) { fill_grad_matmul<Neon, 6, 2>(k); }

}  // namespace geist::kernels
