// What each instruction set contributes to the table of grad_kernels.h; see kernel_fill.h.
#pragma once

#include "kernels/grad_kernels.h"

namespace geist::kernels {

// All of the scalar kernels, with the fused multiply-add instruction: scalar_fma.cc.
void fill_grad_kernels_scalar_fma(GradKernels& k);

// outer_product, transpose: grad_matmul_*.cc.
void fill_grad_matmul_scalar(GradKernels& k);
void fill_grad_matmul_avx2(GradKernels& k);
void fill_grad_matmul_avx512(GradKernels& k);
void fill_grad_matmul_neon(GradKernels& k);

// Norms, activations, softmax, the optimiser: grad_rows_*.cc.
void fill_grad_rows_scalar(GradKernels& k);
void fill_grad_rows_avx2(GradKernels& k);
void fill_grad_rows_avx512(GradKernels& k);
void fill_grad_rows_neon(GradKernels& k);

}  // namespace geist::kernels
