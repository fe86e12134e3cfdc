#include "kernels/grad_fill.h"
#include "kernels/grad_matmul_inl.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

void fill_grad_matmul_scalar(GradKernels& k) { fill_grad_matmul<Scalar, 2, 1>(k); }

}  // namespace geist::kernels
